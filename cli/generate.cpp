// `heddle generate`: text from prompts and conversations with a language model.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <fstream>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/generate_session.h"
#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/text/line_reader.h"

namespace heddle::cli {

namespace {

constexpr int kWindows = 4;  // lines read ahead, in multiples of the rows

std::atomic<bool> interrupted{false};
extern "C" void interrupt(int) { interrupted = true; }

/// The options as the command line has them.
struct GenerateOptions {
  SessionSettings session;
  std::optional<std::string> prompt;
  std::string input, output;
  std::vector<std::string> stop;
  int64_t max_new_tokens = 256, min_new_tokens = 0, rows = 8, threads = 0, context = 0, seed = 1;
  std::optional<int64_t> top_k, no_repeat_ngram, num_beams;
  std::optional<double> temperature, top_p, min_p, repetition_penalty;
  bool chat = false, log_probabilities = false, quiet = false;
};

/// What the command line says, then generation_config.json.
decode::GenerationOptions generation_options(const GenerateOptions& o,
                                             const decode::GenerationDefaults& defaults) {
  decode::GenerationOptions options;
  options.max_new_tokens = o.max_new_tokens;
  options.min_new_tokens = o.min_new_tokens;
  options.stop = o.stop;
  options.log_probabilities = o.log_probabilities;
  options.sampling = defaults.sampling;
  options.repetition = defaults.repetition;
  decode::Sampling& sampling = options.sampling;
  sampling.seed = static_cast<uint64_t>(o.seed);
  if (o.temperature || o.top_k || o.top_p || o.min_p) sampling.enabled = true;
  if (o.temperature == 0.0) {
    sampling.enabled = false;  // the best token, as everyone means it
  } else if (o.temperature) {
    sampling.temperature = *o.temperature;
  }
  if (o.top_k) sampling.top_k = static_cast<int>(std::min<int64_t>(*o.top_k, 1 << 30));
  if (o.top_p) sampling.top_p = *o.top_p;
  if (o.min_p) sampling.min_p = *o.min_p;
  if (o.repetition_penalty) options.repetition.penalty = *o.repetition_penalty;
  if (o.no_repeat_ngram) {
    options.repetition.no_repeat_ngram =
        static_cast<int>(std::min<int64_t>(*o.no_repeat_ngram, 1 << 30));
  }
  options.check();
  return options;
}

bool show(const decode::GeneratedPart& part) {
  if (!part.text.empty()) print(std::string(part.text));
  return !interrupted;
}

void run_prompt(GenerateSession& session, const decode::GenerationOptions& options,
                const std::string& prompt) {
  const decode::GenerationRequest request{session.tokens_of(prompt), options, 0};
  session.generate({&request, 1}, show);
  print("\n");
}

void run_chat(GenerateSession& session, const decode::GenerationOptions& options, int64_t context) {
  const std::unique_ptr<decode::Conversation> conversation = session.converse(context);
  text::LineReader reader(text::read_from(STDIN_FILENO, "standard input"), "standard input");
  const bool terminal = ::isatty(STDIN_FILENO) == 1 && ::isatty(STDOUT_FILENO) == 1;
  bool first = true;
  for (std::string line;;) {
    if (terminal) print("> ");
    if (!reader.next(line)) break;
    if (line.empty()) continue;
    // Ctrl-C ends an answer; where none is being written, the program.
    interrupted = false;
    struct sigaction action {
    }, before{};
    action.sa_handler = interrupt;
    ::sigaction(SIGINT, &action, &before);
    conversation->reply(session.turn_of(line, first), options, show);
    ::sigaction(SIGINT, &before, nullptr);
    first = false;
    print("\n");
  }
  if (terminal) print("\n");
}

/// One prompt a line: text, or with `json` an object that has "prompt" or "messages".
std::vector<int32_t> tokens_of_line(const GenerateSession& session, const std::string& line,
                                    const std::string& place, bool json) {
  if (!json) return session.tokens_of(line);
  const io::Value value = io::parse_json(line, place);
  const io::Field field(value, place);
  if (const auto prompt = field.find("prompt")) return session.tokens_of(prompt->text());
  std::vector<text::ChatMessage> messages;
  for (const io::Field& each : field["messages"].items()) {
    messages.push_back({text::role_named(each["role"].text()), each["content"].text()});
  }
  return session.tokens_of(messages);
}

std::string json_line(const decode::Generated& found, bool log_probabilities) {
  std::string line =
      str("{\"text\": ", json_string(found.text),
          ", \"finish_reason\": ", json_string(decode::name_of(found.finish)),
          ", \"prompt_tokens\": ", found.prompt_tokens, ", \"new_tokens\": ", found.tokens.size());
  const auto list = [&](const char* name, const auto& values, const auto& text_of) {
    line += str(", \"", name, "\": [");
    for (size_t i = 0; i < values.size(); ++i) line += (i == 0 ? "" : ", ") + text_of(values[i]);
    line += "]";
  };
  if (log_probabilities) {
    list("tokens", found.tokens, [](int32_t id) { return std::to_string(id); });
    list("log_probabilities", found.log_probabilities,
         [](float value) { return json_number(static_cast<double>(value)); });
  }
  return line + "}\n";
}

/// Output is lines, so line breaks of a text become spaces; JSON keeps them.
std::string plain_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::replace(text.begin(), text.end(), '\r', ' ');
  return text + "\n";
}

void run_lines(GenerateSession& session, const decode::GenerationOptions& options,
               const GenerateOptions& o) {
  const bool json = !o.input.empty();
  const std::string name = json ? o.input : "standard input";
  text::LineReader reader(
      json ? text::read_from_file(o.input) : text::read_from(STDIN_FILENO, name), name);
  std::ofstream file;
  if (!o.output.empty()) {
    file.open(o.output, std::ios::binary);
    HEDDLE_CHECK(file.is_open(), "generate: cannot write ", o.output);
  }
  uint64_t number = 0;
  for (bool more = true; more;) {
    std::vector<decode::GenerationRequest> requests;
    std::vector<bool> empty;  // lines with nothing to go on from
    std::string line;
    while (std::ssize(requests) < o.rows * kWindows && (more = reader.next(line))) {
      ++number;
      empty.push_back(line.empty());
      if (line.empty()) continue;
      requests.push_back(
          {tokens_of_line(session, line, str(name, " line ", number), json), options, number});
    }
    const std::vector<decode::Generated> found = session.generate(requests);
    std::string text;
    for (size_t i = 0, next = 0; i < empty.size(); ++i) {
      const decode::Generated nothing;
      const decode::Generated& each = empty[i] ? nothing : found[next++];
      text += json ? json_line(each, o.log_probabilities) : plain_line(each.text);
    }
    if (file.is_open()) {
      file << text << std::flush;
      HEDDLE_CHECK(file.good(), "generate: cannot write ", o.output);
    } else {
      print(text);
    }
  }
}

void run_generate(GenerateOptions& o) {
  HEDDLE_CHECK(!o.session.model.empty(),
               "generate: no --model; expected a directory or a GGUF file");
  HEDDLE_CHECK(!o.num_beams || o.num_beams == 1, "generate: --num-beams is ", *o.num_beams,
               "; expected 1: language models are not searched with beams. Hint: --temperature, "
               "or nothing for the best token at each step");
  const int modes = (o.prompt ? 1 : 0) + (o.chat ? 1 : 0) + (o.input.empty() ? 0 : 1);
  HEDDLE_CHECK(modes <= 1, "generate: found several of --prompt, --chat and --input; expected one");
  HEDDLE_CHECK(o.output.empty() || !o.input.empty(),
               "generate: --output without --input; expected both");
  HEDDLE_CHECK(!o.session.raw || (!o.chat && o.session.chat_template.empty()),
               "generate: --raw with --chat or --chat-template; expected prompts as they are");
  HEDDLE_CHECK(o.rows >= 1 && o.rows <= 1024, "generate: --rows is ", o.rows,
               "; expected 1 … 1024");
  HEDDLE_CHECK(o.threads >= 0 && o.threads <= 1024, "generate: --threads is ", o.threads,
               "; expected 1 … 1024, or 0 for one a processor");
  o.session.rows = static_cast<int>(o.rows);
  o.session.threads = static_cast<int>(o.threads);
  GenerateSession session(o.session);
  if (!session.has_template() && !o.session.raw && o.session.chat_template != "none" && !o.quiet) {
    std::fputs("generate: the model has no chat template; prompts are continued as they are\n",
               stderr);
  }
  const decode::GenerationOptions options = generation_options(o, session.model().defaults);
  if (o.chat) {
    run_chat(session, options, o.context);
  } else if (o.prompt) {
    run_prompt(session, options, *o.prompt);
  } else {
    run_lines(session, options, o);
  }
  if (!o.quiet) std::fputs(session.summary().c_str(), stderr);
}

void add_choice_options(const Command& command, GenerateOptions& o) {
  command.option("--max-new-tokens,--max_new_tokens", o.max_new_tokens, "most tokens of an answer");
  command.option("--min-new-tokens,--min_new_tokens", o.min_new_tokens,
                 "tokens before the end may be chosen");
  command.option("--temperature", o.temperature, "sample: below 1 safer, above 1 bolder; 0: best");
  command.option("--top-k,--top_k", o.top_k, "sample among the N best; 0: all");
  command.option("--top-p,--top_p", o.top_p, "sample among the best that reach probability X");
  command.option("--min-p,--min_p", o.min_p, "… of at least X times the best one's probability");
  command.option("--repetition-penalty,--repetition_penalty", o.repetition_penalty,
                 "of tokens there were before; 1: none");
  command.option("--no-repeat-ngram-size,--no_repeat_ngram_size", o.no_repeat_ngram,
                 "write no N tokens twice; 0: off");
  command.option("--seed", o.seed, "of sampling");
  command.option("--stop", o.stop, "a text before which the answer ends; several may be given");
  command.option("--num-beams,--num_beams", o.num_beams, "1: there is no beam search here");
}

}  // namespace

void add_generate_command(const Command& parent) {
  const Command command = parent.add_command("generate", "Writes text with a language model");
  static GenerateOptions o;
  command.option("--model", o.session.model, "directory (Hugging Face) or GGUF file", "PATH");
  command.option("--prompt", o.prompt, "what to answer, or to go on from");
  command.flag("--chat", o.chat, "a conversation on the terminal");
  command.option("--input", o.input,
                 "JSON lines: {\"prompt\": …} or {\"messages\": [{\"role\", "
                 "\"content\"}, …]}",
                 "FILE");
  command.option("--output", o.output, "JSON lines with the texts; else standard output", "FILE");
  command.option("--system", o.session.system, "the system message that stands first");
  command.option("--chat-template,--chat_template", o.session.chat_template,
                 text::ChatTemplate::names() + " or none; else the model's own", "NAME");
  command.flag("--raw", o.session.raw, "prompts as they are, without a template");
  add_choice_options(command, o);
  command.option("--dtype", o.session.precision, "native, f32, bf16 or int8", "KIND");
  command.option("--threads", o.threads, "0: one a processor");
  command.option("--rows", o.rows, "prompts at once");
  command.option("--context", o.context, "most tokens of a conversation; 0: 4096 or the model's");
  command.flag("--log-probabilities,--log_probabilities", o.log_probabilities,
               "tokens and their log-probabilities in JSON lines");
  command.flag("--quiet", o.quiet, "no summary");
  command.footer(
      "Without --prompt, --chat and --input each line of standard input is a prompt. What\n"
      "generation_config.json recommends is used where no option says another.\n\n"
      "Examples:\n"
      "  heddle generate --model gemma-3-270m-it --prompt 'What is a heddle?'\n"
      "  heddle generate --model qwen2.5.gguf --chat --system 'Be brief.' --temperature 0.7\n"
      "  heddle generate --model MODEL --raw --max-new-tokens 32 < prompts.txt\n"
      "  heddle generate --model MODEL --input questions.jsonl --output answers.jsonl");
  command.run([] { run_generate(o); });
}

}  // namespace heddle::cli
