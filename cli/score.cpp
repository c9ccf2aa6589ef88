// `heddle score`: what a reward model gives answers, and how often it ranks as people did.
#include <algorithm>
#include <cmath>
#include <fstream>
#include <memory>
#include <thread>

#include "cli/commands.h"
#include "cli/dataset.h"
#include "cli/format.h"
#include "cli/training_run.h"
#include "heddle/base/error.h"
#include "heddle/data/decompress.h"
#include "heddle/data/preference_tokens.h"
#include "heddle/io/json.h"
#include "heddle/train/group_batches.h"
#include "heddle/train/preference.h"

namespace heddle::cli {

namespace {

constexpr size_t kBlock = 256;        // questions at once
constexpr int64_t kRowTokens = 8192;  // of a row, unless a question needs more

struct ScoreOptions {
  std::string model, input, output, chat_template, on_bad_line = "raise", device = "cpu";
  int64_t max_length = 32'768, threads = 0;
  bool json = false, quiet = false, tokens = false;
};

/// How often the better answer has the higher score: each question weighs alike.
struct Agreement {
  uint64_t questions = 0, ranked = 0, answers = 0, pairs = 0;
  double accuracy = 0, margin = 0;

  void add(const std::vector<float>& ranks, const std::vector<double>& scores) {
    ++questions;
    answers += scores.size();
    double right = 0, gap = 0, count = 0;
    for (size_t i = 0; i < ranks.size(); ++i) {
      for (size_t j = 0; j < ranks.size(); ++j) {
        if (!(ranks[i] > ranks[j])) continue;
        right += scores[i] > scores[j] ? 1 : 0;
        gap += scores[i] - scores[j];
        ++count;
      }
    }
    if (count == 0) return;
    ++ranked;
    pairs += static_cast<uint64_t>(count);
    accuracy += right / count;
    margin += gap / count;
  }
};

/// Groups of a block, as data::PreferenceGroups views them.
struct Block {
  std::vector<int32_t> tokens;
  std::vector<uint64_t> offsets{0}, lines;
  int64_t longest = 0;

  void add(const data::TokenGroup& group, uint64_t line) {
    for (const auto& list : {data::shape_of(group.shape), group.stored}) {
      tokens.insert(tokens.end(), list.begin(), list.end());
      offsets.push_back(tokens.size());
    }
    lines.push_back(line);
    longest = std::max(longest, static_cast<int64_t>(group.stored.size()));
  }
  data::PreferenceGroups view() const { return {tokens, offsets}; }
};

io::Value list_of(const std::vector<double>& numbers) {
  io::Value::List list;
  for (const double each : numbers) list.emplace_back(each);
  return list;
}

/// Token ids of each question with each of its answers.
io::Value texts_of_group(const data::PreferenceGroups& groups, uint64_t number) {
  const data::PreferenceGroup group = groups.group(number);
  const auto stored = groups.stored(number);
  io::Value::List texts;
  size_t at = 0;
  const auto question = static_cast<size_t>(group.question);
  for (size_t i = 0; i < group.answers.size(); ++i) {
    if (i == 0 || !group.shared) at += question;
    io::Value::List ids;
    const auto add = [&](size_t first, size_t count) {
      for (const int32_t each : stored.subspan(first, count)) {
        ids.emplace_back(int64_t{data::token_of(each)});
      }
    };
    add(group.shared ? 0 : at - question, question);
    add(at, static_cast<size_t>(group.answers[i]));
    at += static_cast<size_t>(group.answers[i]);
    texts.emplace_back(std::move(ids));
  }
  return texts;
}

class Scorer {
 public:
  explicit Scorer(const ScoreOptions& options)
      : options_(options),
        pool_(options.threads > 0
                  ? static_cast<int>(options.threads)
                  : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()))),
        judge_(decode::load_merged(options.model), pool_, device_of(options.device)) {
    HEDDLE_CHECK(judge_.config().is_language_model(), "score: ", options.model,
                 ": found an encoder–decoder; expected a reward model, or a language model");
    if (options.output.empty()) return;
    file_.open(options.output, std::ios::binary);
    HEDDLE_CHECK(file_.is_open(), "score: cannot write ", options.output);
  }

  const model::TransformerConfig& config() const { return judge_.config(); }
  const Agreement& agreement() const { return agreement_; }

  void score(const Block& block) {
    const data::PreferenceGroups groups = block.view();
    const train::GroupBatches batches(
        groups, {.packing_length = std::max(kRowTokens, block.longest), .shuffle = false}, 1);
    std::vector<std::vector<double>> scores(groups.size());
    const auto stream = batches.open({});
    for (data::PackedBatch batch; stream->next(batch);) {
      const std::vector<double> values = judge_(batch);
      auto from = values.begin();
      for (size_t g = 0; g < batch.groups.size(); ++g) {
        const auto count = std::ssize(batch.groups[g].answers);
        scores[batch.pairs[g]].assign(from, from + count);
        from += count;
      }
    }
    for (size_t g = 0; g < scores.size(); ++g) {
      agreement_.add(groups.group(g).scores, scores[g]);
      write(groups, g, block.lines[g], scores[g]);
    }
  }

 private:
  void write(const data::PreferenceGroups& groups, uint64_t group, uint64_t line,
             const std::vector<double>& scores) {
    io::Value value;
    value.set("line", static_cast<int64_t>(line));
    value.set("scores", list_of(scores));
    if (options_.tokens) value.set("tokens", texts_of_group(groups, group));
    const std::string text = io::to_json(value) + "\n";
    if (!file_.is_open()) {
      if (!options_.quiet) print(text);
      return;
    }
    file_ << text << std::flush;
    HEDDLE_CHECK(file_.good(), "score: cannot write ", options_.output);
  }

  const ScoreOptions& options_;
  ThreadPool pool_;
  train::AnswerJudge judge_;
  std::ofstream file_;
  Agreement agreement_;
};

std::string summary(const Agreement& found, bool scores, bool json) {
  const double count = std::max<double>(1, static_cast<double>(found.ranked));
  if (json) {
    io::Value value;
    value.set("questions", static_cast<int64_t>(found.questions));
    value.set("answers", static_cast<int64_t>(found.answers));
    value.set("ranked_questions", static_cast<int64_t>(found.ranked));
    value.set("pairs", static_cast<int64_t>(found.pairs));
    if (found.ranked > 0) value.set("accuracy", found.accuracy / count);
    if (found.ranked > 0) value.set("margin", found.margin / count);
    return io::to_json(value, 1) + "\n";
  }
  std::string text = str("score: ", scores ? "rewards" : "ln p", " of ", found.answers,
                         " answers to ", found.questions, " questions\n");
  if (found.ranked == 0) return text;
  return text + str("accuracy    ", percent_text(found.accuracy / count), " (", found.ranked,
                    " questions, ", found.pairs, " pairs)\n", "margin      ",
                    json_number(found.margin / count), "\n");
}

void run_score(const ScoreOptions& options) {
  HEDDLE_CHECK(!options.model.empty(), "score: expected --model, a reward model or an adapter");
  HEDDLE_CHECK(!options.input.empty(), "score: expected --input, a file of jsonl");
  HEDDLE_CHECK(options.on_bad_line == "raise" || options.on_bad_line == "skip",
               "--on_bad_line: found ", options.on_bad_line, "; expected raise or skip");
  HEDDLE_CHECK(!options.json || !options.output.empty() || options.quiet,
               "score: --json prints figures where scores would be; expected --output or --quiet");
  Scorer scorer(options);
  const decode::TextFiles text = decode::load_text_files(options.model);
  const auto chat = decode::chat_template_for(text, options.chat_template);
  const data::PreferenceTokens encoder(
      text.tokenizer, chat ? data::render_turns(*chat, text.tokenizer) : data::RenderTurns{},
      {.tokens = {.max_length = options.max_length,
                  .excess_length_strategy = data::ExcessLength::raise},
       .row_length = data::kLongestRow,
       .window = scorer.config().window});
  data::ObjectLines lines(data::decompressed(text::read_from_file(options.input), options.input),
                          options.input,
                          {.on_bad_line = options.on_bad_line == "skip" ? data::OnBadLine::skip
                                                                        : data::OnBadLine::raise});
  data::ConversationCounts counts;
  Block block;
  data::TokenGroup group;
  const auto parse = [&](const io::Field& object) {
    data::Preference each = data::parse_preference(object, false);
    each.line = lines.line();
    encoder.encode(each, options.input, group);
  };
  while (lines.next(parse, counts)) {
    block.add(group, lines.line());
    if (block.lines.size() < kBlock) continue;
    scorer.score(block);
    block = {};
  }
  if (!block.lines.empty()) scorer.score(block);
  const std::string end = summary(scorer.agreement(), scorer.config().scores, options.json);
  if (options.json || options.quiet || !options.output.empty()) {
    print(end);
  } else {
    std::fputs(end.c_str(), stderr);
  }
}

}  // namespace

void add_score_command(const Command& parent) {
  const Command command =
      parent.add_command("score", "Score answers with a reward model, and how well it ranks them");
  const auto options = std::make_shared<ScoreOptions>();
  command.option("--model,--model_name_or_path", options->model,
                 "Reward model or its adapter; of a language model the scores are ln p(answer)",
                 "PATH");
  command.option("--input,--dataset", options->input,
                 "JSON lines: prompt with answers, or with chosen and rejected; plain, .zst or .gz",
                 "FILE");
  command.option("--output", options->output, "JSON lines with the scores; else standard output",
                 "FILE");
  command.option("--template,--chat_template", options->chat_template,
                 "Chat template; otherwise the model's own", "NAME");
  command.option("--cutoff-len,--cutoff_len,--max_length", options->max_length,
                 "Longest question with an answer, tokens; longer ones are an error");
  command.option("--on-bad-line,--on_bad_line", options->on_bad_line,
                 "Lines that cannot be used: raise or skip", "NAME");
  command.option("--threads", options->threads, "0: one a processor");
  command.option("--device", options->device, "cpu, in f32; cuda, in bf16; auto: cuda if there");
  command.flag("--json", options->json, "The figures as JSON");
  command.flag("--quiet", options->quiet, "The figures alone, no scores");
  command.flag("--tokens", options->tokens, "Token ids beside the scores");
  command.footer(
      "Scores come in the order of the answers: chosen before rejected. Where answers are ranked\n"
      "(chosen and rejected, scores or ranks), accuracy is the share of pairs that are in the "
      "right\n"
      "order, averaged over the questions.\n\n"
      "Examples:\n"
      "  heddle score --model reward --input answers.jsonl --output scores.jsonl\n"
      "  heddle score --model reward --input held_out.jsonl --quiet --json");
  command.run([options] { run_score(*options); });
}

}  // namespace heddle::cli
