// The terminal picture of a mask.
#include <algorithm>
#include <array>
#include <string_view>

#include "heddle/mask/picture.h"
#include "heddle/mask/picture/grid.h"

namespace heddle {

namespace {

using picture::Grid;

/// How many cells a picture has, and how many of them one character shows.
struct Layout {
  int32_t rows, keys;       // cells
  int32_t rows_per_line;    // 2: upper and lower half block
  int32_t columns_per_key;  // 2: nearly square cells
};

Layout layout_of(const ColumnMask& mask, int32_t columns) {
  const int32_t lines = std::max(columns / 2, 1);  // a character is about twice as high as wide
  const int32_t rows = mask.query_length(), keys = mask.key_length();
  if (keys <= columns / 2 && rows <= lines) return {rows, keys, 1, 2};
  if (keys <= columns && rows <= 2 * lines) return {rows, keys, 2, 1};
  // One character a cell; the longer axis fills its room, the other keeps the shape.
  const int64_t shaped_lines = std::max<int64_t>(int64_t{lines} * rows / keys, 1);
  const int64_t shaped_keys = std::max<int64_t>(int64_t{columns} * keys / rows, 1);
  return {static_cast<int32_t>(std::min<int64_t>({shaped_lines, lines, rows})),
          static_cast<int32_t>(std::min<int64_t>({shaped_keys, columns, keys})), 1, 1};
}

std::string_view shade(int64_t visible, int64_t pairs) {
  if (visible == 0) return "·";
  if (visible == pairs) return "█";
  constexpr std::array<std::string_view, 3> kShades{"░", "▒", "▓"};
  const double share = static_cast<double>(visible) / static_cast<double>(pairs);
  return kShades[static_cast<size_t>(std::min(3.0 * share, 2.0))];
}

std::string_view half_blocks(bool upper, bool lower) {
  constexpr std::array<std::string_view, 4> kBlocks{"·", "▄", "▀", "█"};
  return kBlocks[(upper ? 2u : 0u) + (lower ? 1u : 0u)];
}

std::string line_text(const Grid& grid, const Layout& layout, int32_t row) {
  std::string line;
  for (int32_t key = 0; key < grid.keys; ++key) {
    const int64_t visible = grid.visible[grid.at(row, key)];
    if (layout.rows_per_line == 2) {
      const bool lower = row + 1 < grid.rows && grid.visible[grid.at(row + 1, key)] > 0;
      line += half_blocks(visible > 0, lower);
    } else if (layout.columns_per_key == 2) {
      line += visible > 0 ? "██" : "· ";
    } else {
      line += shade(visible, grid.pairs[grid.at(row, key)]);
    }
  }
  return line;
}

std::string padded(const std::string& text, size_t width) {
  return std::string(width - std::min(width, text.size()), ' ') + text;
}

/// "key 0 … 63 →" over the first and the last column, `width` characters.
std::string key_axis(int32_t key_length, size_t width) {
  const std::string first = "key 0", last = str(key_length - 1);
  if (key_length == 1 || first.size() + last.size() + 1 > width) return "key 0 … " + last;
  return first + padded(last, width - first.size());
}

}  // namespace

std::string picture_text(const ColumnMask& mask, const TextPicture& options) {
  HEDDLE_CHECK(options.columns >= 1 && options.columns <= 4096, "picture: found ", options.columns,
               " columns; expected 1 … 4096");
  const std::string title = "row ";
  const std::string last_row = str(mask.query_length() - 1);
  const size_t margin = options.labels ? title.size() + last_row.size() + 2 : 0;
  const int32_t room = std::max(options.columns - static_cast<int32_t>(margin), 1);
  const Layout layout = layout_of(mask, room);
  const Grid grid = picture::make_grid(mask, options.head, layout.rows, layout.keys);

  std::string text;
  if (options.labels) {
    const auto width = static_cast<size_t>(layout.keys * layout.columns_per_key);
    text += std::string(margin, ' ') + key_axis(mask.key_length(), width) + "\n";
  }
  const int32_t lines = (layout.rows + layout.rows_per_line - 1) / layout.rows_per_line;
  for (int32_t line = 0; line < lines; ++line) {
    const int32_t row = line * layout.rows_per_line;
    if (options.labels) {
      const bool quarter =
          line == 0 || line == lines / 4 || line == lines / 2 || line == lines - lines / 4 - 1;
      std::string label;
      if (line == lines - 1) {
        label = last_row;
      } else if (quarter) {
        label = str(picture::band_begin(mask.query_length(), layout.rows, row));
      }
      text += (line == 0 ? title : "    ") + padded(label, last_row.size()) + " │";
    }
    text += line_text(grid, layout, row) + "\n";
  }
  return text;
}

}  // namespace heddle
