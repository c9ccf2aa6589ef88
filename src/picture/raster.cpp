#include "heddle/picture/raster.h"

#include <png.h>

#include <algorithm>
#include <cmath>

#include "heddle/base/error.h"
#include "heddle/picture/stroke_font.h"

namespace heddle::picture {

namespace {

constexpr double kScale = 2;  // pixels a point

int32_t to_pixel(double points) { return static_cast<int32_t>(std::lround(points * kScale)); }

uint8_t mixed(uint8_t under, uint8_t over, double share) {
  return static_cast<uint8_t>(std::lround(under + (over - under) * share));
}

double distance(Point p, const Stroke& stroke) {
  const double dx = stroke.to.x - stroke.from.x, dy = stroke.to.y - stroke.from.y;
  const double length2 = dx * dx + dy * dy;
  const double along =
      length2 > 0 ? ((p.x - stroke.from.x) * dx + (p.y - stroke.from.y) * dy) / length2 : 0;
  const double t = std::clamp(along, 0.0, 1.0);
  return std::hypot(p.x - stroke.from.x - t * dx, p.y - stroke.from.y - t * dy);
}

}  // namespace

void RasterCanvas::begin(double width, double height, Color background, std::string_view) {
  raster_.width = to_pixel(width);
  raster_.height = to_pixel(height);
  raster_.rgb.resize(static_cast<size_t>(raster_.width) * static_cast<size_t>(raster_.height) * 3);
  fill({0, 0, width, height}, background);
}

int32_t RasterCanvas::most_cells(double points) const {
  return static_cast<int32_t>(points * kScale);
}

void RasterCanvas::fill(const Rectangle& area, Color color) {
  const int32_t left = std::max(to_pixel(area.x), 0), top = std::max(to_pixel(area.y), 0);
  const int32_t right = std::min(to_pixel(area.x + area.width), raster_.width);
  const int32_t bottom = std::min(to_pixel(area.y + area.height), raster_.height);
  for (int32_t y = top; y < bottom; ++y) {
    for (int32_t x = left; x < right; ++x) blend(x, y, color, 1);
  }
}

void RasterCanvas::blend(int32_t x, int32_t y, Color color, double share) {
  if (x < 0 || x >= raster_.width || y < 0 || y >= raster_.height) return;
  uint8_t* pixel =
      raster_.rgb.data() +
      (static_cast<size_t>(y) * static_cast<size_t>(raster_.width) + static_cast<size_t>(x)) * 3;
  pixel[0] = mixed(pixel[0], color.red, share);
  pixel[1] = mixed(pixel[1], color.green, share);
  pixel[2] = mixed(pixel[2], color.blue, share);
}

void RasterCanvas::draw(std::span<const Stroke> strokes, double radius, Color color) {
  if (strokes.empty()) return;
  double left = raster_.width, right = 0, top = raster_.height, bottom = 0;
  for (const Stroke& stroke : strokes) {
    left = std::min({left, stroke.from.x, stroke.to.x});
    right = std::max({right, stroke.from.x, stroke.to.x});
    top = std::min({top, stroke.from.y, stroke.to.y});
    bottom = std::max({bottom, stroke.from.y, stroke.to.y});
  }
  const auto first = [&](double at) {
    return std::max(static_cast<int32_t>(std::floor(at - radius)) - 1, 0);
  };
  const auto last = [&](double at, int32_t limit) {
    return std::min(static_cast<int32_t>(std::ceil(at + radius)) + 2, limit);
  };
  const int32_t x0 = first(left), x1 = last(right, raster_.width);
  const int32_t y0 = first(top), y1 = last(bottom, raster_.height);
  if (x0 >= x1 || y0 >= y1) return;

  // How near the pen comes to the middle of each pixel: strokes may touch, so darken only once.
  const auto columns = static_cast<size_t>(x1 - x0);
  std::vector<float> covered(columns * static_cast<size_t>(y1 - y0));
  for (const Stroke& stroke : strokes) {
    const auto [low_x, high_x] = std::minmax(stroke.from.x, stroke.to.x);
    const auto [low_y, high_y] = std::minmax(stroke.from.y, stroke.to.y);
    for (int32_t y = first(low_y); y < last(high_y, y1); ++y) {
      for (int32_t x = first(low_x); x < last(high_x, x1); ++x) {
        const double gap = distance({x + 0.5, y + 0.5}, stroke) - radius;
        float& share = covered[static_cast<size_t>(y - y0) * columns + static_cast<size_t>(x - x0)];
        share = std::max(share, static_cast<float>(std::clamp(0.5 - gap, 0.0, 1.0)));
      }
    }
  }
  for (size_t at = 0; at < covered.size(); ++at) {
    if (covered[at] <= 0) continue;
    blend(x0 + static_cast<int32_t>(at % columns), y0 + static_cast<int32_t>(at / columns), color,
          covered[at]);
  }
}

void RasterCanvas::line(std::span<const Point> points, double width, Color color) {
  std::vector<Stroke> strokes;
  for (size_t i = 1; i < points.size(); ++i) {
    strokes.push_back({{points[i - 1].x * kScale, points[i - 1].y * kScale},
                       {points[i].x * kScale, points[i].y * kScale}});
  }
  draw(strokes, width * kScale / 2, color);
}

void RasterCanvas::text(double x, double y, std::string_view line, const TextStyle& style) {
  const double size = style.size * kScale, radius = pen_width(size, style.bold) / 2;
  const double left = to_pixel(x + radius / kScale), base = to_pixel(y);
  std::vector<Stroke> strokes = text_strokes(line, size);
  for (Stroke& stroke : strokes) {
    for (Point* end : {&stroke.from, &stroke.to}) *end = {end->x + left, end->y + base};
  }
  draw(strokes, radius, style.color);
}

std::string encode_png(const Raster& raster) {
  // libpng's simplified interface reports errors as values, so no longjmp crosses C++ code.
  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(raster.width);
  image.height = static_cast<png_uint_32>(raster.height);
  image.format = PNG_FORMAT_RGB;
  const auto failed = [&](int ok) {
    if (ok != 0) return;
    const std::string reason = image.message;
    png_image_free(&image);
    detail::throw_error(str("picture: PNG of ", raster.width, " × ", raster.height, ": ", reason));
  };
  png_alloc_size_t bytes = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::string file(bytes, '\0');
  failed(png_image_write_to_memory(&image, file.data(), &bytes, 0, raster.rgb.data(), 0, nullptr));
  file.resize(bytes);
  return file;
}

}  // namespace heddle::picture
