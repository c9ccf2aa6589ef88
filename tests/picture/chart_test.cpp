#include "heddle/picture/chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <limits>

#include "heddle/picture/raster.h"
#include "heddle/picture/svg.h"

namespace heddle::picture {
namespace {

size_t count(const std::string& text, std::string_view part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++found;
  return found;
}

std::string svg(const std::vector<Panel>& panels, const std::string& title = "") {
  SvgCanvas canvas;
  draw_charts(panels, title, canvas);
  return canvas.document();
}

Panel panel(std::vector<Curve> curves) {
  return {.title = "loss", .x_name = "step", .curves = std::move(curves)};
}

TEST(Ticks, AreRoundAndCoverTheRange) {
  EXPECT_EQ(round_ticks(0, 10), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(round_ticks(1, 3.4).front(), 1);
  for (const auto& [low, high] : std::vector<std::pair<double, double>>{
           {-3, 17}, {1e-9, 3e-9}, {123456, 123999}, {-1e12, 1e12}, {0.999, 1.0001}}) {
    const auto ticks = round_ticks(low, high);
    EXPECT_GE(ticks.size(), 2u) << low;
    EXPECT_LE(ticks.size(), 8u) << low;
    for (size_t i = 0; i < ticks.size(); ++i) {
      EXPECT_GE(ticks[i], low - 1e-9 * (high - low));
      EXPECT_LE(ticks[i], high + 1e-9 * (high - low));
      if (i == 0) continue;
      EXPECT_NEAR(ticks[i] - ticks[i - 1], ticks[1] - ticks[0], 1e-6 * (high - low));
    }
  }
  EXPECT_EQ(round_ticks(5, 5).size(), 1u);
}

TEST(Chart, ACurveIsOneLineAndALegendNamesSeveral) {
  const Curve one{"one", {{0, 3}, {1, 2}, {2, 1}}}, two{"two & <three>", {{0, 1}, {2, 4}}};
  const std::string alone = svg({panel({one})}, "Title");
  EXPECT_EQ(count(alone, "stroke-width=\"1.4\""), 1u);
  EXPECT_EQ(count(alone, "stroke-width=\"2.4\""), 0u);
  EXPECT_NE(alone.find(">Title</text>"), alone.npos);
  const std::string both = svg({panel({one, two})});
  EXPECT_EQ(count(both, "stroke-width=\"1.4\""), 2u);
  EXPECT_EQ(count(both, "stroke-width=\"2.4\""), 2u);
  EXPECT_NE(both.find("two &amp; &lt;three&gt;"), both.npos);
}

TEST(Chart, RisingValuesRiseOnThePage) {
  const std::string text = svg({panel({{"c", {{0, 0}, {10, 5}}}})});
  const size_t line = text.rfind("<polyline");
  double x0 = 0, y0 = 0, x1 = 0, y1 = 0;
  ASSERT_EQ(
      std::sscanf(text.c_str() + line, "<polyline points=\"%lf,%lf %lf,%lf", &x0, &y0, &x1, &y1),
      4);
  EXPECT_LT(x0, x1);
  EXPECT_GT(y0, y1);  // y points down
}

TEST(Chart, NumbersThatAreNoneBreakTheLine) {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  const Curve broken{"c", {{0, 1}, {1, 2}, {2, nan}, {3, 1}, {4, infinity}, {5, 2}}};
  const std::string text = svg({panel({broken})});
  EXPECT_EQ(count(text, "stroke-width=\"1.4\""), 3u);
  EXPECT_EQ(text.find("nan"), text.npos);
  EXPECT_EQ(text.find("inf"), text.npos);
  EXPECT_NE(svg({panel({{"c", {{0, nan}}}})}).find("no values"), std::string::npos);
  EXPECT_NE(svg({panel({})}).find("no values"), std::string::npos);
}

TEST(Chart, OneValueAndEqualValuesHaveAnAxis) {
  for (const std::vector<Point>& points :
       {std::vector<Point>{{5, 0}}, {{1, 7}, {2, 7}}, {{1, -1e-30}, {1, -1e-30}}}) {
    const std::string text = svg({panel({{"c", points}})});
    EXPECT_EQ(count(text, "stroke-width=\"1.4\""), 1u);
    EXPECT_EQ(text.find("nan"), text.npos);
  }
}

TEST(Chart, PixelsOfACurveHaveItsColour) {
  RasterCanvas canvas;
  draw_charts({panel({{"c", {{0, 0}, {10, 10}}}}), panel({})}, "two", canvas);
  const Raster& raster = canvas.raster();
  EXPECT_EQ(raster.width, 2 * (2 * 420 + 32));
  size_t blue = 0;
  for (size_t i = 0; i + 2 < raster.rgb.size(); i += 3) {
    blue += raster.rgb[i] == 0 && raster.rgb[i + 1] == 114 && raster.rgb[i + 2] == 178 ? 1 : 0;
  }
  EXPECT_GT(blue, 500u);
  EXPECT_LT(blue, 5000u);
}

}  // namespace
}  // namespace heddle::picture
