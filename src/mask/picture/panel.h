// One mask of a picture: its colours, its cells and the lines between them. Internal to mask/.
#pragma once

#include "heddle/mask/picture.h"
#include "heddle/picture/canvas.h"

namespace heddle::picture {

// Blue and orange differ for every kind of colour vision, and in brightness.
inline constexpr Color kPaper{255, 255, 255};
inline constexpr Color kVisible{0, 94, 162};
inline constexpr Color kVisiblePartial{230, 145, 0};
inline constexpr Color kMaskedPartial{252, 226, 174};
inline constexpr Color kSkipped{232, 235, 239};

struct Size {
  double width, height;
};

/// Cells of a panel and how large each is drawn.
struct PanelLayout {
  int32_t rows, keys;
  double row_height, key_width;

  Size size() const { return {keys * key_width, rows * row_height}; }
};

/// As many cells as the canvas can show when the longer axis of the mask takes `points`.
PanelLayout panel_layout(const Canvas& canvas, const ColumnMask& mask, double points);

/// Draws the mask with its upper left corner at (x, y).
void draw_panel(Canvas& canvas, const PicturePanel& panel, const PanelLayout& layout, double x,
                double y);

}  // namespace heddle::picture
