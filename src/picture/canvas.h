// What a picture is drawn on: rectangles, lines and text, in points from the upper left corner.
// A layout (mask/picture, chart.h) is written once; raster.h and svg.h are the two canvases.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace heddle::picture {

struct Color {
  uint8_t red = 0, green = 0, blue = 0;
  bool operator==(const Color&) const = default;
};

struct Rectangle {
  double x, y, width, height;
};

struct Point {
  double x, y;
};

struct TextStyle {
  double size = 10;  ///< height of a line; a capital is 0.72 of it
  Color color{};
  bool bold = false;
};

class Canvas {
 public:
  virtual ~Canvas() = default;

  /// Makes an empty page; comes before everything that draws.
  virtual void begin(double width, double height, Color background, std::string_view title) = 0;

  virtual void fill(const Rectangle& area, Color color) = 0;

  /// A line through the points, in their order.
  virtual void line(std::span<const Point> points, double width, Color color) = 0;

  /// One line of ASCII text that starts at x, with its baseline at y.
  virtual void text(double x, double y, std::string_view line, const TextStyle& style) = 0;

  /// The smallest length that can be seen: one pixel.
  virtual double pixel() const = 0;

  /// Most cells to draw along an axis of so many points.
  virtual int32_t most_cells(double points) const = 0;
};

}  // namespace heddle::picture
