#include "heddle/mask/picture.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <span>
#include <string_view>
#include <system_error>

#include "heddle/mask/picture/panel.h"
#include "heddle/picture/raster.h"
#include "heddle/picture/stroke_font.h"
#include "heddle/picture/svg.h"

namespace heddle {

namespace {

using picture::Canvas;
using picture::Color;
using picture::PanelLayout;
using picture::TextStyle;

constexpr Color kInk{27, 31, 36};
constexpr Color kFaintInk{87, 96, 106};
constexpr TextStyle kTitle{.size = 22, .color = kInk, .bold = true};
constexpr TextStyle kSubtitle{.size = 12, .color = kFaintInk};
constexpr TextStyle kPanelTitle{.size = 13, .color = kInk, .bold = true};
constexpr TextStyle kCaption{.size = 10.5, .color = kFaintInk};
constexpr TextStyle kLegend{.size = 12, .color = kInk};

constexpr double kMargin = 24;    // around everything
constexpr double kPanelGap = 28;  // between panels
constexpr double kSwatch = 11;    // a coloured square of the legend
constexpr double kLegendGap = 22;

struct LegendEntry {
  Color color;
  std::string_view text;
};
constexpr std::array<LegendEntry, 4> kTileLegend{{
    {picture::kVisible, "visible, full tile"},
    {picture::kVisiblePartial, "visible, partial tile"},
    {picture::kMaskedPartial, "masked, partial tile"},
    {picture::kSkipped, "skipped tile, never computed"},
}};
constexpr std::array<LegendEntry, 2> kPlainLegend{
    {{picture::kVisible, "visible"}, {picture::kSkipped, "masked"}}};

/// Where everything goes, before the page is made.
struct Sheet {
  struct Text {
    double x, y;
    std::string_view line;
    const TextStyle& style;
  };
  struct Panel {
    double x, y;
    const PicturePanel& panel;
    PanelLayout layout;
  };
  struct Swatch {
    double x, y;
    Color color;
  };
  std::vector<Text> texts;
  std::vector<Panel> panels;
  std::vector<Swatch> swatches;
  double width = 0, height = 0;  // so far, margins not counted

  /// Text with its top at y, broken at spaces to fit `room`; returns where the next line may begin.
  double add_text(double x, double y, std::string_view text, const TextStyle& style, double room) {
    const double spread = style.bold ? 1.04 : 1;
    while (!text.empty()) {
      size_t end = text.size();
      while (picture::text_width(text.substr(0, end), style.size) * spread > room) {
        const size_t space = text.substr(0, end).rfind(' ');
        if (space == text.npos || space == 0) break;  // one long word stays whole
        end = space;
      }
      texts.push_back({x, y + style.size * 0.8, text.substr(0, end), style});
      const double used = picture::text_width(text.substr(0, end), style.size) * spread;
      width = std::max(width, x + used);
      text.remove_prefix(std::min(end + 1, text.size()));
      y += style.size * 1.35;
    }
    return y;
  }
};

/// One row of panels; returns where the next row may begin.
double add_panels(Sheet& sheet, const Canvas& canvas, const Picture& picture, size_t first,
                  double y) {
  const size_t last = std::min(first + static_cast<size_t>(picture.across), picture.panels.size());
  double top = y;
  for (size_t i = first; i < last; ++i) {  // headings of a row share their height
    const double x = static_cast<double>(i - first) * (picture.panel_points + kPanelGap);
    const double room = picture.panel_points;
    double line = sheet.add_text(x, y, picture.panels[i].title, kPanelTitle, room);
    line = sheet.add_text(x, line, picture.panels[i].caption, kCaption, room);
    top = std::max(top, line + 3);
  }
  double bottom = top;
  for (size_t i = first; i < last; ++i) {
    const PicturePanel& panel = picture.panels[i];
    const double x = static_cast<double>(i - first) * (picture.panel_points + kPanelGap);
    const PanelLayout layout = picture::panel_layout(canvas, *panel.mask, picture.panel_points);
    sheet.panels.push_back({x, top, panel, layout});
    sheet.width = std::max(sheet.width, x + layout.size().width);
    bottom = std::max(bottom, top + layout.size().height);
  }
  return bottom + kPanelGap * 0.75;
}

/// The legend, in as few lines as the width allows; returns its lower edge.
double add_legend(Sheet& sheet, bool tiles, double y) {
  const std::span<const LegendEntry> entries = tiles ? std::span<const LegendEntry>(kTileLegend)
                                                     : std::span<const LegendEntry>(kPlainLegend);
  const double room = sheet.width;
  double x = 0;
  for (const LegendEntry& entry : entries) {
    const double width = kSwatch + 6 + picture::text_width(entry.text, kLegend.size);
    if (x > 0 && x + width > room) {
      x = 0;
      y += kLegend.size * 1.6;
    }
    sheet.swatches.push_back({x, y, entry.color});
    sheet.add_text(x + kSwatch + 6, y, entry.text, kLegend, width);
    x += width + kLegendGap;
  }
  return y + kSwatch;
}

Sheet layout_of(const Canvas& canvas, const Picture& picture) {
  HEDDLE_CHECK(!picture.panels.empty(), "picture: found no panels; expected at least 1");
  HEDDLE_CHECK(picture.across >= 1 && picture.across <= 64, "picture: found ", picture.across,
               " panels side by side; expected 1 … 64");
  HEDDLE_CHECK(picture.panel_points >= 16 && picture.panel_points <= 2048,
               "picture: found panels of ", picture.panel_points, " points; expected 16 … 2048");
  Sheet sheet;
  bool tiles = false;
  const double room = picture.across * (picture.panel_points + kPanelGap) - kPanelGap;
  double y = sheet.add_text(0, 0, picture.title, kTitle, room);
  y = sheet.add_text(0, y, picture.subtitle, kSubtitle, room);
  if (y > 0) y += 10;
  for (size_t first = 0; first < picture.panels.size();
       first += static_cast<size_t>(picture.across)) {
    y = add_panels(sheet, canvas, picture, first, y);
  }
  for (const PicturePanel& panel : picture.panels) tiles = tiles || panel.plan != nullptr;
  sheet.height = add_legend(sheet, tiles, y);
  return sheet;
}

void draw(Canvas& canvas, const Picture& picture) {
  const Sheet sheet = layout_of(canvas, picture);
  canvas.begin(sheet.width + 2 * kMargin, sheet.height + 2 * kMargin, picture::kPaper,
               picture.title);
  for (const Sheet::Panel& item : sheet.panels) {
    draw_panel(canvas, item.panel, item.layout, kMargin + item.x, kMargin + item.y);
  }
  for (const Sheet::Swatch& item : sheet.swatches) {
    canvas.fill({kMargin + item.x, kMargin + item.y, kSwatch, kSwatch}, item.color);
  }
  for (const Sheet::Text& item : sheet.texts) {
    canvas.text(kMargin + item.x, kMargin + item.y, item.line, item.style);
  }
}

void write_file(const std::string& path, const std::string& bytes) {
  errno = 0;
  std::ofstream file(path, std::ios::binary);
  file << bytes;
  file.close();
  HEDDLE_CHECK(file.good(), "picture: cannot write '", path, "': ",
               errno != 0 ? std::generic_category().message(errno) : std::string("unknown reason"));
}

}  // namespace

std::string png_bytes(const Picture& picture) {
  picture::RasterCanvas canvas;
  draw(canvas, picture);
  return encode_png(canvas.raster());
}

std::string svg_text(const Picture& picture) {
  picture::SvgCanvas canvas;
  draw(canvas, picture);
  return canvas.document();
}

void write_png(const std::string& path, const Picture& picture) {
  write_file(path, png_bytes(picture));
}

void write_svg(const std::string& path, const Picture& picture) {
  write_file(path, svg_text(picture));
}

}  // namespace heddle
