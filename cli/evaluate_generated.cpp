#include "cli/evaluate_generated.h"

#include <algorithm>
#include <cstdio>
#include <thread>

#include "cli/generate_session.h"
#include "heddle/base/error.h"
#include "heddle/data/decompress.h"
#include "heddle/text/line_reader.h"

namespace heddle::cli {

namespace {

constexpr size_t kAtOnce = 64;  // conversations between two lines of progress

/// A text on one line.
std::string line_of(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::replace(text.begin(), text.end(), '\r', ' ');
  return text;
}

text::Role role_of(data::Role role) {
  switch (role) {
    case data::Role::system:
      return text::Role::system;
    case data::Role::user:
      return text::Role::user;
    case data::Role::assistant:
      break;
  }
  return text::Role::assistant;
}

struct Question {
  std::vector<int32_t> tokens;
  std::string reference;
};

/// False for a conversation that does not end with an answer.
bool take(const data::Conversation& each, const GenerateSession& session, Question& question) {
  if (each.raw) {
    if (each.prompt_turns == 0 || each.prompt_turns >= each.turns.size()) return false;
    std::string prompt;
    question.reference.clear();
    for (size_t i = 0; i < each.turns.size(); ++i) {
      (i < each.prompt_turns ? prompt : question.reference) += each.turns[i].text;
    }
    question.tokens = session.model().tokenizer.encode(prompt, {.add_special_tokens = true});
    return !question.tokens.empty();
  }
  if (each.turns.size() < 2 || each.turns.back().role != data::Role::assistant) return false;
  std::vector<text::ChatMessage> messages;
  for (size_t i = 0; i + 1 < each.turns.size(); ++i) {
    messages.push_back({role_of(each.turns[i].role), each.turns[i].text});
  }
  question.tokens = session.tokens_of(messages);
  question.reference = each.turns.back().text;
  return true;
}

void answer(std::vector<Question>& questions, const GeneratedEvaluation& options,
            GenerateSession& session, GeneratedAnswers& to) {
  std::vector<decode::GenerationRequest> requests;
  for (Question& each : questions) {
    decode::GenerationRequest request{.prompt = std::move(each.tokens)};
    request.options.max_new_tokens = options.max_new_tokens;
    requests.push_back(std::move(request));
    to.references.push_back(line_of(each.reference));
  }
  for (decode::Generated& each : session.generate(requests)) {
    to.answers.push_back(line_of(std::move(each.text)));
  }
  questions.clear();
}

}  // namespace

GeneratedAnswers generate_answers(const GeneratedEvaluation& options) {
  HEDDLE_CHECK(!options.model.empty(), "evaluate: expected --model, a language model");
  HEDDLE_CHECK(options.max_new_tokens > 0, "--max-new-tokens: found ", options.max_new_tokens,
               "; expected 1 or more");
  SessionSettings settings;
  settings.model = options.model;
  settings.chat_template = options.data.chat_template;
  settings.rows = static_cast<int>(options.rows);
  settings.threads = options.threads > 0 ? static_cast<int>(options.threads)
                                         : static_cast<int>(std::thread::hardware_concurrency());
  GenerateSession session(settings);
  data::ConversationReader reader(
      data::decompressed(text::read_from_file(options.data.dataset), options.data.dataset),
      options.data.dataset,
      {.format = data::dataset_format(options.data.format),
       .on_bad_line = on_bad_line(options.data.on_bad_line)});
  GeneratedAnswers found;
  std::vector<Question> waiting;
  int64_t read = 0, unanswered = 0;
  for (data::Conversation each; read < options.data.examples && reader.next(each); ++read) {
    Question question;
    if (!take(each, session, question)) {
      ++unanswered;
      continue;
    }
    waiting.push_back(std::move(question));
    if (waiting.size() < kAtOnce) continue;
    answer(waiting, options, session, found);
    std::fprintf(stderr, "%zu answers; %s", found.answers.size(), session.summary().c_str());
  }
  answer(waiting, options, session, found);
  HEDDLE_CHECK(!found.answers.empty(), options.data.dataset, ": found ", read,
               " conversations, none of which ends with an answer; expected some");
  std::fprintf(stderr, "%zu answers, %lld conversations without one; %s", found.answers.size(),
               static_cast<long long>(unanswered), session.summary().c_str());
  return found;
}

}  // namespace heddle::cli
