#include "heddle/picture/svg.h"

#include <algorithm>
#include <cmath>

#include "heddle/base/error.h"

namespace heddle::picture {

namespace {

/// Text that no XML reader takes for markup; control bytes, which XML forbids, become spaces.
std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    switch (c) {
      case '&':
        result += "&amp;";
        break;
      case '<':
        result += "&lt;";
        break;
      case '>':
        result += "&gt;";
        break;
      case '"':
        result += "&quot;";
        break;
      case '\'':
        result += "&apos;";
        break;
      default:
        result += c >= ' ' && c <= '~' ? c : ' ';
    }
  }
  return result;
}

/// Hundredths are enough for any screen, and keep the file small.
std::string number(double value) { return str(std::round(value * 100) / 100); }

std::string hex(Color color) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text = "#";
  for (const uint8_t part : {color.red, color.green, color.blue}) {
    text += {kDigits[part >> 4], kDigits[part & 15]};
  }
  return text;
}

}  // namespace

void SvgCanvas::begin(double width, double height, Color background, std::string_view title) {
  const std::string w = number(width), h = number(height);
  text_ = str("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", w, "\" height=\"", h,
              "\" viewBox=\"0 0 ", w, " ", h,
              "\" font-family=\"Helvetica, Arial, 'DejaVu Sans', sans-serif\" "
              "shape-rendering=\"crispEdges\">\n<title>",
              escaped(title), "</title>\n");
  fill({0, 0, width, height}, background);
}

// A few thousand rectangles at most for a mask of any length.
int32_t SvgCanvas::most_cells(double) const { return 96; }

void SvgCanvas::fill(const Rectangle& area, Color color) {
  text_ += str("<rect x=\"", number(area.x), "\" y=\"", number(area.y), "\" width=\"",
               number(area.width), "\" height=\"", number(area.height), "\" fill=\"", hex(color),
               "\"/>\n");
}

void SvgCanvas::line(std::span<const Point> points, double width, Color color) {
  text_ += "<polyline points=\"";
  for (const Point& point : points) text_ += str(number(point.x), ",", number(point.y), " ");
  text_ += str("\" fill=\"none\" stroke=\"", hex(color), "\" stroke-width=\"", number(width),
               "\" stroke-linejoin=\"round\" shape-rendering=\"auto\"/>\n");
}

void SvgCanvas::text(double x, double y, std::string_view line, const TextStyle& style) {
  text_ += str("<text x=\"", number(x), "\" y=\"", number(y), "\" font-size=\"", number(style.size),
               "\" fill=\"", hex(style.color), "\"", style.bold ? " font-weight=\"bold\"" : "", ">",
               escaped(line), "</text>\n");
}

}  // namespace heddle::picture
