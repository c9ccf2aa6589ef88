#include "cli/mask_report.h"

#include <initializer_list>
#include <string_view>
#include <utility>

#include "cli/format.h"

namespace heddle::cli {

namespace {

constexpr size_t kNameWidth = 18;

/// "lts, ute": the bounds that the mask holds.
std::string bound_names(const ColumnMask& mask) {
  const MaskView view = mask.view();
  std::string names;
  const auto add = [&](const int32_t* bound, const char* name) {
    if (bound != nullptr) names += str(names.empty() ? "" : ", ", name);
  };
  add(view.lts, "lts");
  add(view.lte, "lte");
  add(view.uts, "uts");
  add(view.ute, "ute");
  return names;
}

std::string line(std::string_view name, const std::string& value) {
  return str("  ", left_aligned(name, kNameWidth), value, "\n");
}

std::string tile_line(const MaskReport& report, std::string_view name, int64_t tiles,
                      std::string_view meaning) {
  return line(name, right_aligned(with_separators(tiles), 15) + "  " +
                        right_aligned(tile_share(report.plan, tiles), 8) + "   " +
                        std::string(meaning));
}

std::string memory_line(std::string_view name, double bytes, double own) {
  return line(name, right_aligned(bytes_text(bytes), 15) +
                        (own > 0 ? right_aligned(times_text(bytes, own), 15) : ""));
}

std::string size_text(const ColumnMask& mask) {
  return with_separators(mask.query_length()) + " × " + with_separators(mask.key_length());
}

std::string json_member(std::string_view name, const std::string& value, bool first = false) {
  return str(first ? "" : ", ", json_string(name), ": ", value);
}

std::string json_object(std::initializer_list<std::pair<std::string_view, double>> members) {
  std::string json;
  for (const auto& [name, value] : members) {
    json += json_member(name, json_number(value), json.empty());
  }
  return str("{", json, "}");
}

std::string json_bool(bool value) { return value ? "true" : "false"; }

}  // namespace

MaskMemory::MaskMemory(const ColumnMask& column_mask, const MaskPlan& mask_plan)
    : mask(static_cast<double>(column_mask.bytes())),
      plan(static_cast<double>(mask_plan.bytes())),
      dense_bool(all_pairs(column_mask)),
      dense_bias(2 * all_pairs(column_mask)) {
  // Lists of partial and of full blocks, by row and by column: four int32 tables of all blocks, and
  // four of counts.
  constexpr int32_t kBlock = 128;
  const int32_t rows = (column_mask.query_length() + kBlock - 1) / kBlock;
  const int32_t keys = (column_mask.key_length() + kBlock - 1) / kBlock;
  block_mask = column_mask.heads() * 4.0 * (4.0 * rows * keys + 2.0 * rows + 2.0 * keys);
}

double all_pairs(const ColumnMask& mask) {
  return static_cast<double>(mask.heads()) * mask.query_length() * mask.key_length();
}

std::string tile_share(const MaskPlan& plan, int64_t tiles) {
  const TileCounts counts = plan.counts();
  const auto all = static_cast<double>(counts.skipped + counts.partial + counts.full);
  return percent_text(static_cast<double>(tiles) / all);
}

std::string report_text(const MaskReport& report) {
  const ColumnMask& mask = report.mask;
  const TileCounts counts = report.plan.counts();
  const MaskMemory memory(mask, report.plan);
  const double own = memory.mask + memory.plan;
  std::string text = report.title + "\n";
  for (const std::string& note : report.notes) text += str("  ", note, "\n");
  text += "\n";
  text += line("queries × keys", size_text(mask));
  text += line("heads",
               with_separators(mask.heads()) + (mask.heads() == 1 ? " (shared by all heads)" : ""));
  text += line("causal", mask.causal() ? str("yes, offset ", mask.offset()) : "no");
  text += line("bounds stored", str(mask.bounds_stored(), " of 4",
                                    mask.bounds_stored() > 0 ? ": " : "", bound_names(mask)));
  text += line("visible pairs", with_separators(mask.visible_pairs()) + " (density " +
                                    percent_text(mask.density()) + ")");
  text += str("\n  tiles of ", report.plan.tile().rows, " × ", report.plan.tile().keys, "\n");
  text += tile_line(report, "  skipped", counts.skipped, "never computed");
  text += tile_line(report, "  partial", counts.partial, "tested pair by pair");
  text += tile_line(report, "  full", counts.full, "computed without a test");
  text += "\n  memory\n";
  text += memory_line("  mask + plan", own, 0);
  text += memory_line("  BlockMask", memory.block_mask, own);
  text += memory_line("  dense bool", memory.dense_bool, own);
  text += memory_line("  dense bf16 bias", memory.dense_bias, own);
  text += str("\n", line("time to build", str(seconds_text(report.mask_seconds), " mask, ",
                                              seconds_text(report.plan_seconds), " plan")));
  return text;
}

std::string report_json(const MaskReport& report) {
  const ColumnMask& mask = report.mask;
  const TileCounts counts = report.plan.counts();
  const MaskMemory memory(mask, report.plan);
  std::string notes;
  for (const std::string& note : report.notes) {
    notes += str(notes.empty() ? "" : ", ", json_string(note));
  }
  std::string json = "{";
  json += json_member("title", json_string(report.title), true);
  json += json_member("notes", str("[", notes, "]"));
  json += json_member("query_length", str(mask.query_length()));
  json += json_member("key_length", str(mask.key_length()));
  json += json_member("heads", str(mask.heads()));
  json += json_member("causal", json_bool(mask.causal()));
  json += json_member("offset", str(mask.offset()));
  json += json_member("bounds_stored", str(mask.bounds_stored()));
  json += json_member("visible_pairs", str(mask.visible_pairs()));
  json += json_member("density", json_number(mask.density()));
  json += json_member("tile", str("{\"rows\": ", report.plan.tile().rows,
                                  ", \"keys\": ", report.plan.tile().keys, "}"));
  json +=
      json_member("tiles", str("{\"skipped\": ", counts.skipped, ", \"partial\": ", counts.partial,
                               ", \"full\": ", counts.full, "}"));
  json += json_member("bytes", json_object({{"mask", memory.mask},
                                            {"plan", memory.plan},
                                            {"dense_bool", memory.dense_bool},
                                            {"dense_bf16_bias", memory.dense_bias},
                                            {"block_mask", memory.block_mask}}));
  json += json_member("seconds",
                      json_object({{"mask", report.mask_seconds}, {"plan", report.plan_seconds}}));
  return json + "}\n";
}

}  // namespace heddle::cli
