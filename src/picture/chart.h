// Line charts: curves over a common axis, one or several panels beside each other.
#pragma once

#include <string>
#include <vector>

#include "heddle/picture/canvas.h"

namespace heddle::picture {

struct Curve {
  std::string name;                   ///< in the legend
  std::vector<Point> points;          ///< rising in x; those that are not finite break the line
  std::vector<std::string> labels{};  ///< one beside each point, which are then dots without a line
};

struct Panel {
  std::string title;
  std::string x_name;
  std::vector<Curve> curves;
  bool log_x = false;
};

/// Draws panels in rows of two, 420 × 280 points each. Curve i of every panel has colour i, so one
/// legend below serves all.
void draw_charts(const std::vector<Panel>& panels, const std::string& title, Canvas& canvas);

/// Round numbers that part [low, high] 2 to 8 of them: 1, 2 or 5 times a power of ten apart.
std::vector<double> round_ticks(double low, double high);

}  // namespace heddle::picture
