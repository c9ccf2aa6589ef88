#include "heddle/picture/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <optional>

#include "heddle/picture/stroke_font.h"

namespace heddle::picture {

namespace {

constexpr double kWidth = 420, kHeight = 280, kMargin = 16;
constexpr double kLeft = 56, kRight = 12, kTop = 30, kBottom = 42;  // inside a panel
constexpr double kLegendLine = 16, kDot = 5;
constexpr Color kInk{40, 40, 40}, kFaint{225, 225, 225}, kPage{255, 255, 255};

// Okabe & Ito's colours, which colour-blind people can tell apart.
constexpr Color kColors[] = {{0, 114, 178}, {213, 94, 0},   {0, 158, 115}, {204, 121, 167},
                             {230, 159, 0}, {86, 180, 233}, {120, 94, 60}, {0, 0, 0}};

Color color_of(size_t curve) { return kColors[curve % std::size(kColors)]; }

std::string number_text(double value) {
  const double size = std::abs(value);
  char text[32];
  if (size >= 1e6) {
    std::snprintf(text, sizeof text, "%.4gM", value / 1e6);
  } else if (size >= 1e4) {
    std::snprintf(text, sizeof text, "%.4gk", value / 1e3);
  } else {
    std::snprintf(text, sizeof text, "%.4g", value);
  }
  return text;
}

/// Values to points of the page.
struct Axis {
  double low = 0, high = 1, begin = 0, end = 1;
  bool logarithmic = false;

  double mapped(double value) const { return logarithmic ? std::log10(value) : value; }
  double at(double value) const {
    return begin + (mapped(value) - mapped(low)) / (mapped(high) - mapped(low)) * (end - begin);
  }
  bool holds(double value) const { return std::isfinite(value) && value >= low && value <= high; }
};

/// Makes room for values that are all the same.
void widen(Axis& axis) {
  if (axis.high > axis.low) return;
  const double room = std::max(std::abs(axis.low) * 0.05, 1e-6);
  axis.low -= axis.logarithmic ? 0 : room;
  axis.high += room;
}

bool is_shown(const Panel& panel, const Point& point) {
  return std::isfinite(point.x) && std::isfinite(point.y) && (!panel.log_x || point.x > 0);
}

/// The y axis leaves out the highest hundredth of all points, so that a first value that is far off
/// does not press the rest of a curve flat.
std::optional<std::pair<Axis, Axis>> axes_of(const Panel& panel) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Axis x{.low = kInfinity, .high = -kInfinity}, y = x;
  std::vector<double> heights;
  for (const Curve& curve : panel.curves) {
    for (const Point& point : curve.points) {
      if (!is_shown(panel, point)) continue;
      x.low = std::min(x.low, point.x);
      x.high = std::max(x.high, point.x);
      heights.push_back(point.y);
    }
  }
  if (heights.empty()) return {};
  std::sort(heights.begin(), heights.end());
  y.low = heights.front();
  y.high = heights[heights.size() - 1 - heights.size() / 100];
  x.logarithmic = panel.log_x;
  widen(x);
  widen(y);
  const double room = (y.high - y.low) * 0.04;
  y.low -= room;
  y.high += room;
  return std::pair(x, y);
}

void centered(Canvas& canvas, double x, double y, const std::string& text, const TextStyle& style) {
  canvas.text(x - text_width(text, style.size) / 2, y, text, style);
}

void draw_grid(Canvas& canvas, const Axis& x, const Axis& y) {
  const TextStyle small{.size = 9, .color = kInk};
  for (const double tick : round_ticks(y.low, y.high)) {
    if (!y.holds(tick)) continue;
    const Point line[] = {{x.begin, y.at(tick)}, {x.end, y.at(tick)}};
    canvas.line(line, 0.6, kFaint);
    const std::string text = number_text(tick);
    canvas.text(x.begin - 6 - text_width(text, small.size), y.at(tick) + 3, text, small);
  }
  for (const double tick : round_ticks(x.low, x.high)) {
    if (!x.holds(tick) || (x.logarithmic && tick <= 0)) continue;
    const Point line[] = {{x.at(tick), y.begin}, {x.at(tick), y.end}};
    canvas.line(line, 0.6, kFaint);
    centered(canvas, x.at(tick), y.begin + 13, number_text(tick), small);
  }
}

/// A dot for each point with its label on the side that has room.
void draw_dots(Canvas& canvas, const Panel& panel, const Curve& curve, const Axis& x, const Axis& y,
               Color color) {
  const TextStyle style{.size = 9, .color = color};
  for (size_t i = 0; i < curve.points.size(); ++i) {
    if (!is_shown(panel, curve.points[i])) continue;
    const Point at{x.at(curve.points[i].x), y.at(std::clamp(curve.points[i].y, y.low, y.high))};
    canvas.fill({at.x - kDot / 2, at.y - kDot / 2, kDot, kDot}, color);
    if (i >= curve.labels.size()) continue;
    const double width = text_width(curve.labels[i], style.size);
    const bool fits = at.x + kDot + width <= x.end;
    canvas.text(fits ? at.x + kDot : at.x - kDot - width, at.y - 3, curve.labels[i], style);
  }
}

/// Parts of a curve between points that are not finite; what leaves the panel is held at its edge.
void draw_curve(Canvas& canvas, const Panel& panel, const Curve& curve, const Axis& x,
                const Axis& y, Color color) {
  std::vector<Point> part;
  const auto flush = [&] {
    if (part.size() == 1) part.push_back(part.front());
    if (!part.empty()) canvas.line(part, 1.4, color);
    part.clear();
  };
  for (const Point& point : curve.points) {
    if (is_shown(panel, point)) {
      part.push_back({x.at(point.x), y.at(std::clamp(point.y, y.low, y.high))});
    } else {
      flush();
    }
  }
  flush();
}

void draw_panel(Canvas& canvas, const Panel& panel, double left, double top) {
  centered(canvas, left + kWidth / 2, top + 18, panel.title,
           {.size = 12, .color = kInk, .bold = true});
  const auto axes = axes_of(panel);
  if (!axes) {
    centered(canvas, left + kWidth / 2, top + kHeight / 2, "no values",
             {.size = 10, .color = kInk});
    return;
  }
  auto [x, y] = *axes;
  x.begin = left + kLeft, x.end = left + kWidth - kRight;
  y.begin = top + kHeight - kBottom, y.end = top + kTop;
  draw_grid(canvas, x, y);
  centered(canvas, (x.begin + x.end) / 2, y.begin + 28, panel.x_name, {.size = 9, .color = kInk});
  for (size_t i = 0; i < panel.curves.size(); ++i) {
    const auto draw = panel.curves[i].labels.empty() ? draw_curve : draw_dots;
    draw(canvas, panel, panel.curves[i], x, y, color_of(i));
  }
}

}  // namespace

std::vector<double> round_ticks(double low, double high) {
  const double rough = (high - low) / 6;
  if (!(rough > 0) || !std::isfinite(rough)) return {low};
  const double power = std::pow(10, std::floor(std::log10(rough)));
  double step = power;
  for (const double times : {1.0, 2.0, 5.0, 10.0}) {
    step = times * power;
    if (step >= rough) break;
  }
  std::vector<double> ticks;
  const auto first = std::llround(std::ceil(low / step - 1e-9));
  const auto last = std::llround(std::floor(high / step + 1e-9));
  for (auto n = first; n <= last; ++n) ticks.push_back(static_cast<double>(n) * step);
  return ticks;
}

void draw_charts(const std::vector<Panel>& panels, const std::string& title, Canvas& canvas) {
  const size_t columns = panels.size() > 1 ? 2 : 1, rows = (panels.size() + columns - 1) / columns;
  std::vector<std::string> names;  // of the panel with the most curves
  for (const Panel& panel : panels) {
    if (panel.curves.size() <= names.size()) continue;
    names.clear();
    for (const Curve& curve : panel.curves) names.push_back(curve.name);
  }
  const double legend = names.size() > 1 ? static_cast<double>(names.size()) * kLegendLine : 0;
  const double head = title.empty() ? 0 : 28;
  const double width = static_cast<double>(columns) * kWidth + 2 * kMargin;
  const double panels_height = static_cast<double>(rows) * kHeight;
  canvas.begin(width, head + panels_height + legend + 2 * kMargin, kPage, title);
  if (!title.empty()) {
    centered(canvas, width / 2, kMargin + 12, title, {.size = 14, .color = kInk, .bold = true});
  }
  for (size_t i = 0; i < panels.size(); ++i) {
    const size_t row = i / columns, column = i % columns;
    draw_panel(canvas, panels[i], kMargin + static_cast<double>(column) * kWidth,
               kMargin + head + static_cast<double>(row) * kHeight);
  }
  for (size_t i = 0; legend > 0 && i < names.size(); ++i) {
    const double y = kMargin + head + panels_height + static_cast<double>(i + 1) * kLegendLine - 4;
    const Point sample[] = {{kMargin + kLeft, y - 3}, {kMargin + kLeft + 24, y - 3}};
    canvas.line(sample, 2.4, color_of(i));
    canvas.text(kMargin + kLeft + 32, y, names[i], {.size = 10, .color = kInk});
  }
}

}  // namespace heddle::picture
