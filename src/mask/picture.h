// Pictures of masks: for a terminal, as PNG and as SVG. Every cell shows the exact share of visible
// pairs under it, whatever the length of the mask.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "heddle/mask/mask.h"
#include "heddle/mask/plan.h"

namespace heddle {

struct TextPicture {
  int32_t columns = 80;  ///< widest line, in characters
  int32_t head = 0;
  bool labels = true;  ///< numbers of rows and keys beside the picture
};

/// Lines of Unicode blocks. A small mask is drawn one to one ("██" may look, "·" may not; or two
/// rows a line with half blocks); of a longer one each character shows its share: · none, ░ ▒ ▓
/// some, █ all.
std::string picture_text(const ColumnMask& mask, const TextPicture& options = {});

/// One mask of a picture. The pointers must live while the picture is drawn.
struct PicturePanel {
  const ColumnMask* mask = nullptr;
  const MaskPlan* plan = nullptr;  ///< of that mask, or null: then tiles are not shown
  int32_t head = 0;
  std::string title{};
  std::string caption{};
};

/// What a PNG or SVG shows. Lengths are in points; a point is two pixels of a PNG.
struct Picture {
  std::string title{};
  std::string subtitle{};
  std::vector<PicturePanel> panels{};
  int32_t across = 1;          ///< panels side by side
  int32_t panel_points = 320;  ///< longest side of a panel, 16 … 2048
};

/// The bytes of a PNG file; throws when libpng refuses.
std::string png_bytes(const Picture& picture);

/// The text of an SVG file; its size is bounded, whatever the length of the masks.
std::string svg_text(const Picture& picture);

/// The same, written to a file; throws an Error that names the path.
void write_png(const std::string& path, const Picture& picture);
void write_svg(const std::string& path, const Picture& picture);

}  // namespace heddle
