#include "heddle/mask/picture/panel.h"

#include <algorithm>
#include <cmath>

#include "heddle/mask/picture/grid.h"

namespace heddle::picture {

namespace {

constexpr double kLeastSide = 4;  // points, of a mask that is much longer than wide

/// Average of the colours of a cell's pairs.
Color cell_color(const Grid& grid, size_t at, bool tiles) {
  const auto pairs = static_cast<double>(grid.pairs[at]);
  const double visible = static_cast<double>(grid.visible[at]) / pairs;
  const double full = tiles ? static_cast<double>(grid.in_full[at]) / pairs : visible;
  const double live = tiles ? full + static_cast<double>(grid.in_partial[at]) / pairs : visible;
  const auto mix = [&](uint8_t Color::*part) {
    const double value = kVisible.*part * full + kVisiblePartial.*part * (visible - full) +
                         kMaskedPartial.*part * (live - visible) + kSkipped.*part * (1 - live);
    return static_cast<uint8_t>(std::lround(std::clamp(value, 0.0, 255.0)));
  };
  return {mix(&Color::red), mix(&Color::green), mix(&Color::blue)};
}

}  // namespace

PanelLayout panel_layout(const Canvas& canvas, const ColumnMask& mask, double points) {
  const double longest = std::max(mask.query_length(), mask.key_length());
  const double width = std::max(points * mask.key_length() / longest, kLeastSide);
  const double height = std::max(points * mask.query_length() / longest, kLeastSide);
  const int32_t keys = std::min(canvas.most_cells(width), mask.key_length());
  const int32_t rows = std::min(canvas.most_cells(height), mask.query_length());
  const auto whole = [&](double length) {  // whole pixels keep the grid crisp
    return std::max(std::floor(length / canvas.pixel()), 1.0) * canvas.pixel();
  };
  return {rows, keys, whole(height / rows), whole(width / keys)};
}

namespace {

/// Thin lines between cells and thicker ones between tiles, where there is room for them.
void draw_lines(Canvas& canvas, const PicturePanel& panel, const PanelLayout& layout, double x,
                double y) {
  const Size size = layout.size();
  const bool exact =
      layout.rows == panel.mask->query_length() && layout.keys == panel.mask->key_length();
  const double cell = std::min(layout.row_height, layout.key_width);
  const auto lines = [&](int32_t step, double thickness) {
    for (int32_t key = step; key < layout.keys; key += step)
      canvas.fill({x + key * layout.key_width - thickness / 2, y, thickness, size.height}, kPaper);
  };
  const auto row_lines = [&](int32_t step, double thickness) {
    for (int32_t row = step; row < layout.rows; row += step)
      canvas.fill({x, y + row * layout.row_height - thickness / 2, size.width, thickness}, kPaper);
  };
  if (!exact) return;
  if (cell >= 4) {
    const double thin = std::max(0.5, std::floor(cell / 12));
    lines(1, thin);
    row_lines(1, thin);
  }
  if (panel.plan == nullptr) return;
  const TileShape tile = panel.plan->tile();
  const double thick = cell >= 4 ? std::max(1.0, std::floor(cell / 5)) : 0.5;
  if (tile.keys * layout.key_width >= 6) lines(tile.keys, thick);
  if (tile.rows * layout.row_height >= 6) row_lines(tile.rows, thick);
}

}  // namespace

void draw_panel(Canvas& canvas, const PicturePanel& panel, const PanelLayout& layout, double x,
                double y) {
  const Grid grid = make_grid(*panel.mask, panel.head, layout.rows, layout.keys, panel.plan);
  const Size size = layout.size();
  canvas.fill({x, y, size.width, size.height}, kSkipped);
  for (int32_t row = 0; row < grid.rows; ++row) {
    for (int32_t begin = 0, end = 0; begin < grid.keys; begin = end) {
      const Color color = cell_color(grid, grid.at(row, begin), panel.plan != nullptr);
      for (end = begin + 1; end < grid.keys; ++end) {
        if (cell_color(grid, grid.at(row, end), panel.plan != nullptr) != color) break;
      }
      if (color == kSkipped) continue;
      canvas.fill({x + begin * layout.key_width, y + row * layout.row_height,
                   (end - begin) * layout.key_width, layout.row_height},
                  color);
    }
  }
  draw_lines(canvas, panel, layout, x, y);
}

}  // namespace heddle::picture
