#include "cli/dataset.h"

#include <utility>

#include "heddle/base/error.h"
#include "heddle/data/chat_tokens.h"
#include "heddle/data/decompress.h"
#include "heddle/io/quoted.h"

namespace heddle::cli {

namespace {

data::RenderTurns template_of(const std::string& name, const decode::TextFiles& files) {
  const auto chat = decode::chat_template_for(files, name);
  if (!chat) return {};  // conversations are refused, texts are fine
  return data::render_turns(*chat, files.tokenizer);
}

}  // namespace

data::OnBadLine on_bad_line(const std::string& name) {
  HEDDLE_CHECK(name == "raise" || name == "skip", "on_bad_line: found ", io::quoted(name),
               "; expected raise or skip");
  return name == "raise" ? data::OnBadLine::raise : data::OnBadLine::skip;
}

decode::TextFiles text_files_of(const std::string& path) {
  if (path.ends_with(".json")) return {text::load_bpe_tokenizer(path), {}, path};
  return decode::load_text_files(path);
}

ReadExamples read_examples(const DatasetChoice& options, const decode::TextFiles& files) {
  HEDDLE_CHECK(options.examples > 0, "--examples: found ", options.examples, "; expected 1 …");
  const data::ChatTokens encoder(
      files.tokenizer, template_of(options.chat_template, files),
      {.train_on = data::train_on(options.train_on),
       .train_on_eos = data::train_on_eos(options.train_on_eos),
       .max_length = options.max_length,
       .excess_length_strategy = data::excess_length_strategy(options.excess),
       .split_special_tokens = !options.control_tokens,
       .skips_refused = on_bad_line(options.on_bad_line) == data::OnBadLine::skip});
  data::ConversationReader reader(
      data::decompressed(text::read_from_file(options.dataset), options.dataset), options.dataset,
      {.format = data::dataset_format(options.format),
       .on_bad_line = on_bad_line(options.on_bad_line)});
  ReadExamples found;
  data::TokenCounts tokens;
  data::TokenExample example;
  for (data::Conversation each;
       std::cmp_less(found.lines.size(), options.examples) && reader.next(each);) {
    const auto outcome = encoder.encode(each, options.dataset, example);
    if (!data::take_example(outcome, example, tokens, found.tokens)) continue;
    found.offsets.push_back(found.tokens.size());
    found.lines.push_back(each.line);
  }
  found.counts = reader.counts();
  found.counts.add(tokens);
  found.format = reader.format();
  HEDDLE_CHECK(!found.lines.empty(), options.dataset,
               ": no example is left: ", found.counts.summary());
  return found;
}

void DatasetChoice::add_to(const Command& command) {
  command.option("--dataset", dataset, "Conversations: .jsonl, plain, .zst or .gz", "FILE");
  command.option("--dataset-format,--dataset_format", format,
                 "auto, messages, sharegpt, alpaca, prompt_completion or text", "NAME");
  command.option("--template", chat_template, "Chat template; otherwise the model's own", "NAME");
  command.option("--train-on,--train_on", train_on,
                 "What is learned: auto, completion, assistant, last or all", "NAME");
  command.option("--train-on-eos,--train_on_eos", train_on_eos,
                 "Ends of turns that are learned: turn, last, none or all", "NAME");
  command.option("--cutoff-len,--cutoff_len,--max-length,--max_length", max_length,
                 "Longest example, tokens");
  command.option("--excess-length-strategy,--excess_length_strategy", excess,
                 "Longer examples: drop, truncate or raise", "NAME");
  command.option("--on-bad-line,--on_bad_line", on_bad_line,
                 "Lines that cannot be used: raise or skip", "NAME");
  command.flag("--control-tokens", control_tokens,
               "Raw text may spell control tokens (split_special_tokens: false)");
  command.option("--examples", examples, "Examples read, at most");
}

}  // namespace heddle::cli
