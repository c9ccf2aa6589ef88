// `heddle demo`: the twelve masks of the FlashMask paper's Figure 1 in one picture, and what each
// of them saves at a useful length.
#include <array>
#include <filesystem>
#include <string_view>
#include <vector>

#include "cli/commands.h"
#include "cli/demo_attention.h"
#include "cli/format.h"
#include "cli/mask_report.h"
#include "heddle/mask/algebra.h"
#include "heddle/mask/builders.h"
#include "heddle/mask/families.h"
#include "heddle/mask/picture.h"

namespace heddle::cli {

namespace {

constexpr int64_t kLength = 10;  // of the masks in the figure
constexpr TileShape kFigureTile{2, 2};
constexpr int64_t kSampleLength = 131'072;  // of the masks in the table
constexpr TileShape kSampleTile{128, 128};
constexpr uint64_t kSeed = 1;

struct FigureMask {
  const char* title;
  const char* family;  ///< of the larger sample
  ColumnMask mask;
};

std::vector<FigureMask> figure_masks() {
  using namespace masks;
  const Lengths documents{4, 3, 3};
  return {
      {"Causal", "causal", intersect(causal(kLength), valid_rows(kLength, kLength, 8))},
      {"Sliding window", "sliding-window", sliding_window(kLength, 3)},
      {"Causal document", "causal-document", causal_document(documents)},
      {"Document", "document", document(documents)},
      {"Shared question", "shared-question", shared_question({{4, {3, 3}}})},
      {"Global + sliding", "global-sliding", global_sliding(kLength, 2, 1, 1)},
      {"Causal blockwise", "causal-blockwise", causal_blockwise(documents)},
      {"Prefix LM document", "prefix-lm-document", prefix_lm_document({{3, 2}, {2, 2}, {5, 2}})},
      {"Prefix LM causal", "prefix-lm-causal", prefix_lm_causal(kLength, 5)},
      {"QK-sparse", "qk-sparse", qk_sparse(kLength, {{2, 5}, {6, 8}})},
      {"Hash-sparse", "hash-sparse",
       hash_sparse(kLength, {2, 2, 4, 5, 5, 8, 8, 9, 10, 10}, {0, 0, 1, 3, 4, 4, 5, 7, 8, 9})},
      {"Random eviction", "random-eviction",
       ColumnMask({.query_length = kLength,
                   .key_length = kLength,
                   .causal = true,
                   .lts = {10, 4, 8, 6, 10, 7, 10, 9, 10, 10}})},
  };
}

void write_figure(const std::vector<FigureMask>& figure, const std::string& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);  // what cannot be made fails at the writing
  std::vector<MaskPlan> plans;
  for (const FigureMask& item : figure) plans.emplace_back(item.mask, kFigureTile);
  Picture picture{.title = "Twelve masks, one representation",
                  .subtitle =
                      "Queries down, keys across. At most two hidden intervals of "
                      "rows a key: memory O(T).",
                  .panels = {},
                  .across = 4,
                  .panel_points = 150};
  for (size_t i = 0; i < figure.size(); ++i) {
    const ColumnMask& mask = figure[i].mask;
    const std::string bounds = str(mask.causal() ? "causal, " : "", mask.bounds_stored(),
                                   mask.bounds_stored() == 1 ? " bound" : " bounds", " a key");
    picture.panels.push_back(
        {.mask = &mask, .plan = &plans[i], .title = figure[i].title, .caption = bounds});
  }
  const std::string stem = folder + "/heddle-masks";
  write_png(stem + ".png", picture);
  write_svg(stem + ".svg", picture);
  print(str("Wrote ", stem, ".png and .svg\n"));
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

/// Terminal pictures side by side, four a row.
void print_figure(const std::vector<FigureMask>& figure) {
  constexpr size_t kAcross = 4, kWidth = 2 * kLength + 4;
  std::string text;
  for (size_t first = 0; first < figure.size(); first += kAcross) {
    std::vector<std::string> rows(1 + kLength);
    for (size_t i = first; i < std::min(first + kAcross, figure.size()); ++i) {
      const auto lines =
          lines_of(picture_text(figure[i].mask, {.columns = 2 * kLength, .labels = false}));
      rows[0] += left_aligned(figure[i].title, kWidth);
      for (size_t row = 0; row < lines.size(); ++row) {
        rows[row + 1] += left_aligned(lines[row], kWidth);
      }
    }
    for (std::string& row : rows) {
      row.resize(row.find_last_not_of(' ') + 1);
      text += str("  ", row, "\n");
    }
    text += "\n";
  }
  print(text);
}

/// One column of the table: its heading and what it says about a mask.
struct TableColumn {
  const char* heading;
  size_t width;
  std::string (*value)(const FigureMask& item, const ColumnMask& sample, const MaskPlan& plan);
};

constexpr std::array<TableColumn, 7> kTable{{
    {"density", 9,
     [](const FigureMask&, const ColumnMask& sample, const MaskPlan&) {
       return percent_text(sample.density());
     }},
    {"skipped", 10,
     [](const FigureMask&, const ColumnMask&, const MaskPlan& plan) {
       return tile_share(plan, plan.counts().skipped);
     }},
    {"partial", 10,
     [](const FigureMask&, const ColumnMask&, const MaskPlan& plan) {
       return tile_share(plan, plan.counts().partial);
     }},
    {"full", 9,
     [](const FigureMask&, const ColumnMask&, const MaskPlan& plan) {
       return tile_share(plan, plan.counts().full);
     }},
    {"mask + plan", 13,
     [](const FigureMask&, const ColumnMask& sample, const MaskPlan& plan) {
       const MaskMemory memory(sample, plan);
       return bytes_text(memory.mask + memory.plan);
     }},
    {"BlockMask", 11,
     [](const FigureMask&, const ColumnMask& sample, const MaskPlan& plan) {
       return bytes_text(MaskMemory(sample, plan).block_mask);
     }},
    {"dense bool", 12,
     [](const FigureMask&, const ColumnMask& sample, const MaskPlan& plan) {
       return bytes_text(MaskMemory(sample, plan).dense_bool);
     }},
}};

void print_table(const std::vector<FigureMask>& figure) {
  std::string text = str("The same kinds at ", with_separators(kSampleLength),
                         " tokens, with the paper's benchmark parameters; tiles of ",
                         kSampleTile.rows, " × ", kSampleTile.keys, "\n\n");
  text += left_aligned("  mask", 20);
  for (const TableColumn& column : kTable) text += right_aligned(column.heading, column.width);
  text += "\n";
  for (const FigureMask& item : figure) {
    const ColumnMask sample = masks::family(item.family, kSampleLength, 1, kSeed);
    const MaskPlan plan(sample, kSampleTile);
    text += left_aligned(str("  ", item.family), 20);
    for (const TableColumn& column : kTable) {
      text += right_aligned(column.value(item, sample, plan), column.width);
    }
    text += "\n";
  }
  print(text);
}

}  // namespace

void add_demo_command(const Command& parent) {
  const Command command =
      parent.add_command("demo", "Draws twelve masks in one picture and tells what they save");
  static std::string folder = ".";
  command.option("--out", folder, "folder for heddle-masks.png and heddle-masks.svg", "FOLDER");
  static int64_t length = 4096;
  command.option("--length", length, "tokens of the attention table");
  command.footer("Example:\n  heddle demo --out pictures");
  command.run([] {
    HEDDLE_CHECK(length >= 1, "--length: found ", length, "; expected at least 1");
    const std::vector<FigureMask> figure = figure_masks();
    print_figure(figure);
    print_table(figure);
    std::vector<std::string_view> families;
    for (const FigureMask& item : figure) families.push_back(item.family);
    print_attention_table(families, length);
    print("\n");
    write_figure(figure, folder);
  });
}

}  // namespace heddle::cli
