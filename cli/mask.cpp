// `heddle mask`: builds a mask, or reads one from a file, and shows what it costs.
#include <algorithm>
#include <charconv>
#include <list>
#include <memory>

#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/mask_builders.h"
#include "cli/mask_files.h"
#include "cli/mask_report.h"
#include "heddle/base/timer.h"
#include "heddle/mask/picture.h"

namespace heddle::cli {

namespace {

/// Options of every mask: what to show, and where.
struct OutputOptions {
  std::optional<std::string> tile, png, svg;
  int64_t head = 0;
  bool json = false;
  bool no_picture = false;
};

void add_output_options(const Command& command, OutputOptions& output) {
  command.option("--tile", output.tile, "rows and keys of a tile (128x128)", "ROWSxKEYS");
  command.option("--head", output.head, "key/value head that the pictures show");
  command.option("--png", output.png, "write a picture to this file", "FILE");
  command.option("--svg", output.svg, "write a vector picture to this file", "FILE");
  command.flag("--json", output.json, "print one JSON object and nothing else");
  command.flag("--no-picture", output.no_picture, "leave out the picture for the terminal");
}

TileShape tile_of(const OutputOptions& output) {
  constexpr TileShape kDefault{128, 128};
  if (!output.tile) return kDefault;
  const std::string& text = *output.tile;
  const char* end = text.data() + text.size();
  TileShape tile{};
  const auto [cross, rows_error] = std::from_chars(text.data(), end, tile.rows);
  const bool has_keys = rows_error == std::errc{} && cross != end && *cross == 'x';
  const auto [last, keys_error] = std::from_chars(has_keys ? cross + 1 : end, end, tile.keys);
  HEDDLE_CHECK(
      has_keys && keys_error == std::errc{} && last == end && tile.rows >= 1 && tile.keys >= 1,
      "--tile: found '", text.substr(0, 40), "'; expected ROWSxKEYS, as 128x64");
  return tile;
}

/// Width of the terminal, within bounds in which a picture reads well.
int32_t terminal_columns() {
  winsize size{};
  const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? std::clamp<int32_t>(size.ws_col - 1, 20, 100) : 80;
}

/// Tiles are coloured when the user asks for their shape, or when there are enough of them to see.
bool shows_tiles(const MaskPlan& plan, const OutputOptions& output) {
  return output.tile.has_value() || (plan.query_tiles() >= 4 && plan.key_tiles() >= 4);
}

void write_pictures(const MaskReport& report, const OutputOptions& output) {
  const auto head = static_cast<int32_t>(output.head);
  const TileShape tile = report.plan.tile();
  const bool tiles = shows_tiles(report.plan, output);
  std::string caption = str(with_separators(report.mask.query_length()), " queries x ",
                            with_separators(report.mask.key_length()), " keys, ",
                            percent_text(report.mask.density()), " visible");
  if (report.mask.heads() > 1) caption += str(", head ", head);
  if (tiles) caption += str(", tiles of ", tile.rows, "x", tile.keys);
  const Picture picture{
      .title = report.title,
      .subtitle = caption,
      .panels = {{.mask = &report.mask, .plan = tiles ? &report.plan : nullptr, .head = head}},
      .across = 1,
      .panel_points = 400};
  if (output.png) write_png(*output.png, picture);
  if (output.svg) write_svg(*output.svg, picture);
}

/// Builds the mask, draws the pictures asked for and prints the report.
template <typename Build>
void show_mask(const std::string& title, const OutputOptions& output, Build build) {
  const TileShape tile = tile_of(output);
  const Timer mask_timer;
  const BuiltMask built = build();
  const double mask_seconds = mask_timer.seconds();
  HEDDLE_CHECK(output.head >= 0 && output.head < built.mask.heads(), "--head: found ", output.head,
               "; expected 0 … ", built.mask.heads() - 1);
  const Timer plan_timer;
  const MaskPlan plan(built.mask, tile);
  const MaskReport report{title, built.notes, built.mask, plan, mask_seconds, plan_timer.seconds()};
  write_pictures(report, output);
  if (output.json) {
    print(report_json(report));
    return;
  }
  print(report_text(report));
  if (output.no_picture) return;
  print(str("\n", picture_text(built.mask, {.columns = terminal_columns(),
                                            .head = static_cast<int32_t>(output.head)})));
}

}  // namespace

void add_mask_command(const Command& parent) {
  const Command command =
      parent.add_command("mask", "Shows a mask: density, tiles skipped, memory, a picture");
  command.footer(
      "Examples:\n"
      "  heddle mask causal-document --lengths 4,3,3\n"
      "  heddle mask sliding-window --length 8192 --window 512 --png window.png\n"
      "  heddle mask --startend indices.npy --causal --json\n"
      "  heddle mask --dense mask.npy --tile 64x64\n"
      "Each builder has its own help: heddle mask causal-document --help");

  // The values live as long as the program: options are written while the arguments are parsed.
  static OutputOptions output;
  static FileOptions files;
  add_output_options(command, output);
  add_file_options(command, files);
  command.run([] { show_mask(title_of(files), output, [] { return read_mask(files); }); });

  static std::list<BuilderOptions> options;
  for (const Builder& builder : builders()) {
    const Command child = command.add_command(builder.name, builder.description);
    BuilderOptions& own = options.emplace_back();
    builder.add_options(child, own);
    add_output_options(child, output);
    child.footer(str("Example:\n  heddle mask ", builder.name, " ", builder.example));
    child.run(
        [&builder, &own] { show_mask(builder.name, output, [&] { return builder.build(own); }); });
  }
}

}  // namespace heddle::cli
