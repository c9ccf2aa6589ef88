// `heddle data preview`: what fine-tuning would see of a data set.
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>

#include "cli/commands.h"
#include "cli/dataset.h"
#include "cli/format.h"
#include "cli/row_text.h"
#include "heddle/base/error.h"
#include "heddle/data/row_packer.h"
#include "heddle/io/quoted.h"
#include "heddle/mask/builders.h"
#include "heddle/mask/picture.h"

namespace heddle::cli {

namespace {

struct Options {
  DatasetChoice data;
  std::string model, color = "auto";
  std::optional<std::string> picture;
  int64_t packing_length = 4096, row = 1, seed = 1;
  int64_t most_tokens = 2000;
};

bool uses_color(const std::string& name) {
  HEDDLE_CHECK(name == "auto" || name == "always" || name == "never", "color: found ",
               io::quoted(name), "; expected auto, always or never");
  // NOLINTNEXTLINE(concurrency-mt-unsafe): no thread of this program sets variables
  const char* none = std::getenv("NO_COLOR");
  const bool wanted = none == nullptr || *none == '\0';
  return name == "always" || (name == "auto" && wanted && ::isatty(STDOUT_FILENO) != 0);
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
  HEDDLE_CHECK(!options.data.dataset.empty(), "data preview: expected --dataset FILE");
  HEDDLE_CHECK(!options.model.empty(),
               "data preview: expected --model, a directory with tokenizer.json, or a GGUF file");
  const bool color = uses_color(options.color);
  const decode::TextFiles files = text_files_of(options.model);
  const ReadExamples found = read_examples(options.data, files);

  data::RowPacker packer(found.view(), {.packing_length = options.packing_length,
                                        .window = options.data.examples,
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
  options->data.add_to(command);
  command.option("--model,--model_name_or_path", options->model,
                 "Directory with tokenizer.json, that file, or a GGUF file", "PATH");
  command.option("--packing-length,--packing_length", options->packing_length, "Tokens of a row");
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
