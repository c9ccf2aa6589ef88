// `heddle data preview`: what fine-tuning would see of a data set.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/row_text.h"
#include "heddle/base/error.h"
#include "heddle/data/chat_tokens.h"
#include "heddle/data/conversation_reader.h"
#include "heddle/data/decompress.h"
#include "heddle/data/row_packer.h"
#include "heddle/decode/language_model.h"
#include "heddle/io/quoted.h"
#include "heddle/mask/builders.h"
#include "heddle/mask/picture.h"

namespace heddle::cli {

namespace {

struct Options {
  std::string dataset, model, format = "auto", chat_template, train_on = "auto";
  std::string train_on_eos = "turn", excess = "drop", on_bad_line = "raise", color = "auto";
  std::optional<std::string> picture;
  int64_t max_length = 4096, packing_length = 4096, examples = 1000, row = 1, seed = 1;
  int64_t most_tokens = 2000;
  bool control_tokens = false;
};

data::OnBadLine on_bad_line(const std::string& name) {
  HEDDLE_CHECK(name == "raise" || name == "skip", "on_bad_line: found ", io::quoted(name),
               "; expected raise or skip");
  return name == "raise" ? data::OnBadLine::raise : data::OnBadLine::skip;
}

bool uses_color(const std::string& name) {
  HEDDLE_CHECK(name == "auto" || name == "always" || name == "never", "color: found ",
               io::quoted(name), "; expected auto, always or never");
  // NOLINTNEXTLINE(concurrency-mt-unsafe): no thread of this program sets variables
  const char* none = std::getenv("NO_COLOR");
  const bool wanted = none == nullptr || *none == '\0';
  return name == "always" || (name == "auto" && wanted && ::isatty(STDOUT_FILENO) != 0);
}

decode::TextFiles text_files_of(const std::string& path) {
  if (path.ends_with(".json")) return {text::load_bpe_tokenizer(path), {}, path};
  return decode::load_text_files(path);
}

data::RenderTurns template_of(const std::string& name, const decode::TextFiles& files) {
  const auto chat = decode::chat_template_for(files, name);
  if (!chat) return {};  // conversations are refused, texts are fine
  return data::render_turns(*chat, files.tokenizer);
}

/// The first examples of a data set, as tokens.
struct Examples {
  std::vector<int32_t> tokens;
  std::vector<uint64_t> offsets{0}, lines;
  data::ConversationCounts counts;
  data::DatasetFormat format = data::DatasetFormat::automatic;
};

Examples read_examples(const Options& options, const decode::TextFiles& files) {
  const data::ChatTokens encoder(
      files.tokenizer, template_of(options.chat_template, files),
      {.train_on = data::train_on(options.train_on),
       .train_on_eos = data::train_on_eos(options.train_on_eos),
       .max_length = options.max_length,
       .excess_length_strategy = data::excess_length_strategy(options.excess),
       .split_special_tokens = !options.control_tokens});
  data::ConversationReader reader(
      data::decompressed(text::read_from_file(options.dataset), options.dataset), options.dataset,
      {.format = data::dataset_format(options.format),
       .on_bad_line = on_bad_line(options.on_bad_line)});
  Examples found;
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
  return found;
}

void write_picture(const std::string& path, const ColumnMask& mask, const std::string& caption) {
  const Picture picture{.title = "causal documents of a packed row",
                        .subtitle = caption,
                        .panels = {{.mask = &mask}},
                        .panel_points = 400};
  if (path.ends_with(".png")) {
    write_png(path, picture);
  } else {
    HEDDLE_CHECK(path.ends_with(".svg"), "--picture: found ", io::quoted(path),
                 "; expected a name that ends in .svg or .png");
    write_svg(path, picture);
  }
}

void preview(const Options& options) {
  HEDDLE_CHECK(!options.dataset.empty(), "data preview: expected --dataset FILE");
  HEDDLE_CHECK(!options.model.empty(),
               "data preview: expected --model, a directory with tokenizer.json, or a GGUF file");
  HEDDLE_CHECK(options.examples > 0, "--examples: found ", options.examples, "; expected 1 …");
  const bool color = uses_color(options.color);
  const decode::TextFiles files = text_files_of(options.model);
  const Examples found = read_examples(options, files);
  HEDDLE_CHECK(!found.lines.empty(), options.dataset,
               ": no example is left: ", found.counts.summary());

  data::RowPacker packer({found.tokens, found.offsets},
                         {.packing_length = options.packing_length,
                          .window = options.examples,
                          .seed = static_cast<uint64_t>(options.seed)});
  const auto rows = static_cast<int64_t>(packer.rows_in_epoch(0));
  HEDDLE_CHECK(options.row >= 1 && options.row <= rows, "--row: found ", options.row,
               "; expected 1 … ", rows);
  data::PackedRow row;
  for (int64_t i = 0; i < options.row; ++i) packer.next(row);

  std::vector<std::string> names;
  for (const uint64_t example : row.examples) names.push_back(str("line ", found.lines[example]));
  const ColumnMask mask = masks::causal_document(row.lengths());
  const auto tokens = std::ssize(row.tokens);
  const auto share = [](int64_t part, int64_t whole) {
    return percent_text(static_cast<double>(part) / static_cast<double>(whole));
  };
  const std::string caption =
      str(with_separators(row.documents()), " documents, ", with_separators(tokens), " tokens, ",
          percent_text(mask.density()), " of the mask visible");
  std::string text = row_text(row, files.tokenizer, names, {color, options.most_tokens});
  text += str("\ndata set     ", found.counts.summary(), " (", name_of(found.format), ")\n");
  for (const std::string& warning : found.counts.warnings())
    text += "warning      " + warning + "\n";
  text += str("row          ", options.row, " of ", rows, "\n");
  text += str("documents    ", with_separators(row.documents()), "\n");
  text +=
      str("tokens       ", with_separators(tokens), " of ", with_separators(options.packing_length),
          " (", share(tokens, options.packing_length), ")\n");
  text +=
      str("learned      ", with_separators(row.learned), " (", share(row.learned, tokens), ")\n");
  text += str("mask density ", percent_text(mask.density()), " (causal documents)\n");
  text += "padding      0\n";
  if (options.picture) write_picture(*options.picture, mask, caption);
  print(text);
}

}  // namespace

void add_data_command(const Command& parent) {
  const Command data = parent.add_command("data", "Data for fine-tuning: what a model would see");
  const Command command =
      data.add_command("preview", "Shows a packed row: learned tokens, documents, mask");
  const auto options = std::make_shared<Options>();
  command.option("--dataset", options->dataset, "Conversations: .jsonl, plain, .zst or .gz",
                 "FILE");
  command.option("--model,--model_name_or_path", options->model,
                 "Directory with tokenizer.json, that file, or a GGUF file", "PATH");
  command.option("--dataset-format,--dataset_format", options->format,
                 "auto, messages, sharegpt, alpaca, prompt_completion or text", "NAME");
  command.option("--template", options->chat_template, "Chat template; otherwise the model's own",
                 "NAME");
  command.option("--train-on,--train_on", options->train_on,
                 "What is learned: auto, completion, assistant, last or all", "NAME");
  command.option("--train-on-eos,--train_on_eos", options->train_on_eos,
                 "Ends of turns that are learned: turn, last, none or all", "NAME");
  command.option("--cutoff-len,--cutoff_len,--max-length,--max_length", options->max_length,
                 "Longest example, tokens");
  command.option("--excess-length-strategy,--excess_length_strategy", options->excess,
                 "Longer examples: drop, truncate or raise", "NAME");
  command.option("--packing-length,--packing_length", options->packing_length, "Tokens of a row");
  command.option("--on-bad-line,--on_bad_line", options->on_bad_line,
                 "Lines that cannot be used: raise or skip", "NAME");
  command.flag("--control-tokens", options->control_tokens,
               "Raw text may spell control tokens (split_special_tokens: false)");
  command.option("--examples", options->examples, "Examples read, at most");
  command.option("--row", options->row, "Row to show, from 1");
  command.option("--seed", options->seed, "Of the order");
  command.option("--most-tokens", options->most_tokens, "Tokens shown; 0: all");
  command.option("--picture", options->picture, "Write the row's mask: .svg or .png", "FILE");
  command.option("--color", options->color, "auto, always or never", "NAME");
  command.footer(
      "Learned tokens are bold and green; without colours \u27E6they stand in brackets\u27E7.\n"
      "Examples:\n"
      "  heddle data preview --dataset chats.jsonl --model Qwen2.5-0.5B-Instruct\n"
      "  heddle data preview --dataset alpaca.jsonl.zst --model model.gguf --packing-length 16384\n"
      "  heddle data preview --dataset chats.jsonl --model Qwen3-8B --row 3 --picture row.svg");
  command.run([options] { preview(*options); });
}

}  // namespace heddle::cli
