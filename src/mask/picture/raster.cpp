#include "heddle/mask/picture/raster.h"

#include <png.h>

#include <algorithm>
#include <cmath>

#include "heddle/base/error.h"
#include "heddle/mask/picture/stroke_font.h"

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

void RasterCanvas::text(double x, double y, std::string_view line, const TextStyle& style) {
  const double size = style.size * kScale, radius = pen_width(size, style.bold) / 2;
  const int32_t left = to_pixel(x + radius / kScale), base = to_pixel(y);
  const auto width = static_cast<int32_t>(text_width(line, size) + 2 * radius) + 2;
  const int32_t top = -static_cast<int32_t>(size), bottom = static_cast<int32_t>(size / 2);
  const int32_t margin = static_cast<int32_t>(radius) + 1;

  // How near the pen comes to the middle of each pixel: letters may touch, so darken only once.
  const auto row_pixels = static_cast<size_t>(width + 2 * margin);
  std::vector<double> covered(row_pixels * static_cast<size_t>(bottom - top));
  for (const Stroke& stroke : text_strokes(line, size)) {
    const auto [x0, x1] = std::minmax(stroke.from.x, stroke.to.x);
    const auto [y0, y1] = std::minmax(stroke.from.y, stroke.to.y);
    const auto first_x = static_cast<int32_t>(std::floor(x0)) - margin;
    const auto last_x = static_cast<int32_t>(std::ceil(x1)) + margin;
    const auto first_y = static_cast<int32_t>(std::floor(y0)) - margin;
    const auto last_y = static_cast<int32_t>(std::ceil(y1)) + margin;
    for (int32_t py = std::max(first_y, top); py < std::min(last_y, bottom); ++py) {
      for (int32_t px = std::max(first_x, -margin); px < std::min(last_x, width + margin); ++px) {
        const double gap = distance({px + 0.5, py + 0.5}, stroke) - radius;
        double& share =
            covered[static_cast<size_t>(py - top) * row_pixels + static_cast<size_t>(px + margin)];
        share = std::max(share, std::clamp(0.5 - gap, 0.0, 1.0));
      }
    }
  }
  for (size_t at = 0; at < covered.size(); ++at) {
    if (covered[at] <= 0) continue;
    blend(left + static_cast<int32_t>(at % row_pixels) - margin,
          base + top + static_cast<int32_t>(at / row_pixels), style.color, covered[at]);
  }
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
