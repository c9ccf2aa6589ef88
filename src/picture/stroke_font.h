// A small built-in font for PNG pictures: letters are pen strokes, so one table serves every size.
// Printable ASCII; what the table lacks is drawn as a box.
#pragma once

#include <string_view>
#include <vector>

#include "heddle/picture/canvas.h"

namespace heddle::picture {

/// A pen line between two points.
struct Stroke {
  Point from, to;
};

/// Distance between the baselines of two lines of text is `size`; a capital is 0.72 · size high.
double text_width(std::string_view line, double size);

/// The strokes of a line of text that starts at (0, 0) on the baseline; y points down.
std::vector<Stroke> text_strokes(std::string_view line, double size);

/// Width of the pen.
double pen_width(double size, bool bold);

}  // namespace heddle::picture
