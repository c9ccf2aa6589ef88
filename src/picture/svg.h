// A canvas that writes SVG.
#pragma once

#include <string>

#include "heddle/picture/canvas.h"

namespace heddle::picture {

class SvgCanvas : public Canvas {
 public:
  void begin(double width, double height, Color background, std::string_view title) override;
  void fill(const Rectangle& area, Color color) override;
  void line(std::span<const Point> points, double width, Color color) override;
  void text(double x, double y, std::string_view line, const TextStyle& style) override;
  double pixel() const override { return 0.25; }
  int32_t most_cells(double points) const override;

  /// The whole document.
  std::string document() const { return text_ + "</svg>\n"; }

 private:
  std::string text_;
};

}  // namespace heddle::picture
