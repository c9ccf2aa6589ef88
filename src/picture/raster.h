// A canvas of pixels, and the PNG file made from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "heddle/picture/canvas.h"
#include "heddle/picture/stroke_font.h"

namespace heddle::picture {

/// Red, green, blue; rows from the top.
struct Raster {
  int32_t width = 0;
  int32_t height = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

/// Two pixels a point.
class RasterCanvas : public Canvas {
 public:
  void begin(double width, double height, Color background, std::string_view title) override;
  void fill(const Rectangle& area, Color color) override;
  void line(std::span<const Point> points, double width, Color color) override;
  void text(double x, double y, std::string_view line, const TextStyle& style) override;
  double pixel() const override { return 0.5; }
  int32_t most_cells(double points) const override;

  const Raster& raster() const { return raster_; }

 private:
  /// Draws pen lines given in pixels; where they touch, once.
  void draw(std::span<const Stroke> strokes, double radius, Color color);

  /// Lays the colour over a pixel with this share.
  void blend(int32_t x, int32_t y, Color color, double share);

  Raster raster_;
};

/// The bytes of a PNG file; throws when libpng refuses.
std::string encode_png(const Raster& raster);

}  // namespace heddle::picture
