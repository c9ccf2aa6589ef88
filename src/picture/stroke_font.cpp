#include "heddle/picture/stroke_font.h"

#include <algorithm>
#include <array>

namespace heddle::picture {

namespace {

// A glyph is a list of strokes. A stroke is a sign and points "xy", with the baseline at y = 2,
// small letters up to 6, capitals up to 8, descenders down to 0:
//   -  straight lines    ~  a smooth curve with these control points    o  the same, closed
constexpr std::array<std::string_view, 95> kGlyphs = {
    /*   */ "",
    /* ! */ "-0804 -0202",
    /* " */ "-0807 -1817",
    /* # */ "",
    /* $ */ "",
    /* % */ "o06262808 o32525434 -1248",
    /* & */ "",
    /* ' */ "-0807",
    /* ( */ "~290521",
    /* ) */ "~092501",
    /* * */ "",
    /* + */ "-0545 -2327",
    /* , */ "-1201",
    /* - */ "-0535",
    /* . */ "-0202",
    /* / */ "-0139",
    /* 0 */ "o02323808",
    /* 1 */ "-072822",
    /* 2 */ "~0708484502 -0242",
    /* 3 */ "~0708484525 ~2545420203",
    /* 4 */ "-32380444",
    /* 5 */ "-480805 ~051646420203",
    /* 6 */ "o02424606 ~380804",
    /* 7 */ "-084812",
    /* 8 */ "o02424505 o05454808",
    /* 9 */ "o04444808 ~464212",
    /* : */ "-0202 -0505",
    /* ; */ "-1201 -1515",
    /* < */ "-370533",
    /* = */ "-0444 -0646",
    /* > */ "-073503",
    /* ? */ "~0708484524 -2222",
    /* @ */ "",
    /* A */ "-022842 -1434",
    /* B */ "-0208 ~082848452505 ~052545422202",
    /* C */ "~474808024243",
    /* D */ "-18080212 ~18484212",
    /* E */ "-48080242 -0535",
    /* F */ "-480802 -0535",
    /* G */ "~47480802424445 -4525",
    /* H */ "-0208 -4248 -0545",
    /* I */ "-0208",
    /* J */ "~3834320204",
    /* K */ "-0208 -4804 -1542",
    /* L */ "-080242",
    /* M */ "-0208346862",
    /* N */ "-02084248",
    /* O */ "o02525808",
    /* P */ "-0208 ~082848442404",
    /* Q */ "o02525808 -3452",
    /* R */ "-0208 ~082848452505 -2542",
    /* S */ "~4748080545420203",
    /* T */ "-0848 -2228",
    /* U */ "~080402424448",
    /* V */ "-082248",
    /* W */ "-0822374268",
    /* X */ "-0248 -0842",
    /* Y */ "-0825 -4825 -2522",
    /* Z */ "-08480242",
    /* [ */ "-19090111",
    /* \ */ "-0931",
    /* ] */ "-09191101",
    /* ^ */ "-062846",
    /* _ */ "-0141",
    /* ` */ "-0817",
    /* a */ "o02424606 -4246",
    /* b */ "-0208 o02424606",
    /* c */ "~454606024243",
    /* d */ "o02424606 -4248",
    /* e */ "-0444 ~444606024243",
    /* f */ "~38181612 -0636",
    /* g */ "o02424606 ~4642400001",
    /* h */ "-0208 ~0406464442",
    /* i */ "-0206 -0808",
    /* j */ "~16111000 -1818",
    /* k */ "-0208 -3603 -1432",
    /* l */ "~08040212",
    /* m */ "-0206 ~0406363432 ~3436666462",
    /* n */ "-0206 ~0406464442",
    /* o */ "o02424606",
    /* p */ "-0006 o02424606",
    /* q */ "o02424606 -4046",
    /* r */ "-0206 ~040626",
    /* s */ "~3536060434320203",
    /* t */ "~18141232 -0636",
    /* u */ "~060402424446 -4246",
    /* v */ "-062246",
    /* w */ "-0622364266",
    /* x */ "-0246 -0642",
    /* y */ "-0622 -4610",
    /* z */ "-06460242",
    /* { */ "",
    /* | */ "-0109",
    /* } */ "",
    /* ~ */ "~0516253546",
};

constexpr std::string_view kBox = "-0242480802";
constexpr double kUnit = 0.12;  // of the size, down: a capital is 6 units high
constexpr double kUnitAcross = 0.112;
constexpr double kGap = 1.85;   // units between two letters
constexpr double kSpace = 1.6;  // units, the gap not counted
constexpr int kCurveSteps = 6;  // lines for one piece of a curve

std::string_view glyph(char c) {
  if (c == ' ') return "";
  const bool known = c > ' ' && c <= '~' && !kGlyphs[static_cast<size_t>(c - ' ')].empty();
  return known ? kGlyphs[static_cast<size_t>(c - ' ')] : kBox;
}

/// Calls visit(sign, points) for every stroke of a glyph.
template <typename Visit>
void for_each_stroke(std::string_view strokes, Visit visit) {
  while (!strokes.empty()) {
    const std::string_view stroke = strokes.substr(0, strokes.find(' '));
    strokes.remove_prefix(std::min(stroke.size() + 1, strokes.size()));
    std::vector<Point> points;
    for (size_t at = 1; at + 1 < stroke.size(); at += 2) {
      points.push_back(
          {static_cast<double>(stroke[at] - '0'), static_cast<double>(stroke[at + 1] - '0')});
    }
    if (!points.empty()) visit(stroke[0], points);
  }
}

double advance(char c) {
  if (c == ' ') return kSpace + kGap;
  double width = 0;
  for_each_stroke(glyph(c), [&](char, const std::vector<Point>& points) {
    for (const Point& point : points) width = std::max(width, point.x);
  });
  return width + kGap;
}

Point middle(Point a, Point b) { return {(a.x + b.x) / 2, (a.y + b.y) / 2}; }

/// The quadratic B-spline of the control points as a chain of points: it passes the middle of each
/// inner leg, and an open one its two ends.
std::vector<Point> smooth(const std::vector<Point>& control, bool closed) {
  const size_t n = control.size();
  if (n < 3) return control;
  std::vector<Point> chain{closed ? middle(control[n - 1], control[0]) : control[0]};
  const size_t first = closed ? 0 : 1, last = closed ? n : n - 1;
  for (size_t i = first; i < last; ++i) {
    const Point from = chain.back(), bend = control[i], next = control[(i + 1) % n];
    const Point to = !closed && i + 2 == n ? next : middle(bend, next);
    for (int step = 1; step <= kCurveSteps; ++step) {
      const double t = static_cast<double>(step) / kCurveSteps, s = 1 - t;
      chain.push_back({s * s * from.x + 2 * s * t * bend.x + t * t * to.x,
                       s * s * from.y + 2 * s * t * bend.y + t * t * to.y});
    }
  }
  return chain;
}

}  // namespace

double text_width(std::string_view line, double size) {
  double units = 0;
  for (const char c : line) units += advance(c);
  return line.empty() ? 0 : (units - kGap) * kUnitAcross * size;
}

std::vector<Stroke> text_strokes(std::string_view line, double size) {
  std::vector<Stroke> strokes;
  double left = 0;
  const auto place = [&](Point p) {
    return Point{(left + p.x) * kUnitAcross * size, (2 - p.y) * kUnit * size};
  };
  for (const char c : line) {
    for_each_stroke(glyph(c), [&](char sign, const std::vector<Point>& points) {
      const std::vector<Point> chain = sign == '-' ? points : smooth(points, sign == 'o');
      for (size_t i = 0; i + 1 < chain.size(); ++i) {
        strokes.push_back({place(chain[i]), place(chain[i + 1])});
      }
    });
    left += advance(c);
  }
  return strokes;
}

double pen_width(double size, bool bold) { return size * (bold ? 0.125 : 0.088); }

}  // namespace heddle::picture
