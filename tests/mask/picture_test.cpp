// Pictures: every cell counts exactly, whatever the length; files are well formed and bounded.
#include "heddle/mask/picture.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string_view>

#include "heddle/mask/builders.h"
#include "heddle/mask/picture/grid.h"
#include "heddle/mask/picture/panel.h"
#include "heddle/picture/raster.h"
#include "heddle/picture/stroke_font.h"
#include "heddle/picture/svg.h"
#include "tests/mask/random_masks.h"

namespace heddle {
namespace {

using picture::Grid;

/// Counts a cell pair by pair.
void expect_cell(const ColumnMask& mask, const MaskPlan& plan, int32_t head, const Grid& grid,
                 int32_t row, int32_t key) {
  int64_t pairs = 0, visible = 0, in_full = 0, in_partial = 0;
  const auto begin = [](int64_t length, int64_t bands, int64_t band) {
    return static_cast<int32_t>(picture::band_begin(length, bands, band));
  };
  for (int32_t i = begin(mask.query_length(), grid.rows, row);
       i < begin(mask.query_length(), grid.rows, row + 1); ++i) {
    for (int32_t j = begin(mask.key_length(), grid.keys, key);
         j < begin(mask.key_length(), grid.keys, key + 1); ++j) {
      const int32_t tile_row = i / plan.tile().rows, tile_key = j / plan.tile().keys;
      const TileClass tile =
          classify(mask.view(), head, tile_row * plan.tile().rows,
                   std::min((tile_row + 1) * plan.tile().rows, mask.query_length()),
                   tile_key * plan.tile().keys,
                   std::min((tile_key + 1) * plan.tile().keys, mask.key_length()));
      ++pairs;
      visible += mask.allowed(head, i, j) ? 1 : 0;
      in_full += tile == TileClass::full ? 1 : 0;
      in_partial += tile == TileClass::partial ? 1 : 0;
    }
  }
  const size_t at = grid.at(row, key);
  EXPECT_EQ(grid.pairs[at], pairs) << row << " " << key;
  EXPECT_EQ(grid.visible[at], visible) << row << " " << key;
  EXPECT_EQ(grid.in_full[at], in_full) << row << " " << key;
  EXPECT_EQ(grid.in_partial[at], in_partial) << row << " " << key;
}

TEST(PictureGrid, CountsAsPairByPair) {
  Random random(3);
  for (int round = 0; round < 200; ++round) {
    const int64_t rows = random.between(1, 40), keys = random.between(1, 40);
    const int64_t heads = random.between(1, 2);
    const test::RandomMask wanted{rows, keys, heads, random.below(2) == 0,
                                  static_cast<int>(random.below(5))};
    const ColumnMask mask = test::random_mask(random, wanted);
    const TileShape tile{static_cast<int32_t>(random.between(1, 9)),
                         static_cast<int32_t>(random.between(1, 9))};
    const MaskPlan plan(mask, tile);
    const auto head = static_cast<int32_t>(random.between(0, heads - 1));
    const Grid grid = picture::make_grid(mask, head, static_cast<int32_t>(random.between(1, rows)),
                                         static_cast<int32_t>(random.between(1, keys)), &plan);
    for (int32_t row = 0; row < grid.rows; ++row) {
      for (int32_t key = 0; key < grid.keys; ++key) expect_cell(mask, plan, head, grid, row, key);
    }
  }
}

TEST(PictureGrid, AMillionTokensAddUp) {
  const ColumnMask mask = masks::causal_document({300'000, 500'000, 248'576});
  const MaskPlan plan(mask, {128, 128});
  const Grid grid = picture::make_grid(mask, 0, 77, 101, &plan);
  const auto sum = [](const std::vector<int64_t>& counts) {
    int64_t total = 0;
    for (const int64_t count : counts) total += count;
    return total;
  };
  EXPECT_EQ(sum(grid.visible), mask.visible_pairs());
  EXPECT_EQ(sum(grid.pairs), int64_t{1} << 40);
  EXPECT_EQ(sum(grid.in_full), plan.counts().full * 128 * 128);
  EXPECT_EQ(sum(grid.in_partial), plan.counts().partial * 128 * 128);
}

TEST(PictureGrid, RefusesWhatDoesNotFit) {
  const ColumnMask mask = masks::causal(8);
  EXPECT_THROW(picture::make_grid(mask, 1, 4, 4), Error);
  EXPECT_THROW(picture::make_grid(mask, -1, 4, 4), Error);
  EXPECT_THROW(picture::make_grid(mask, 0, 9, 4), Error);
  EXPECT_THROW(picture::make_grid(mask, 0, 4, 0), Error);
}

TEST(PictureText, SmallMasksOneToOne) {
  EXPECT_EQ(picture_text(masks::causal(3), {.columns = 6, .labels = false}),
            "██· · \n"
            "████· \n"
            "██████\n");
  EXPECT_EQ(picture_text(masks::causal(3)),
            "       key 0 … 2\n"
            "row 0 │██· · \n"
            "    1 │████· \n"
            "    2 │██████\n");
  EXPECT_EQ(picture_text(masks::causal(5), {.columns = 9, .labels = false}),
            "█▄···\n"
            "███▄·\n"
            "▀▀▀▀▀\n");
}

TEST(PictureText, LongMasksInShades) {
  EXPECT_EQ(picture_text(masks::causal(1 << 20), {.columns = 8, .labels = false}),
            "▓░······\n"
            "██▓░····\n"
            "████▓░··\n"
            "██████▓░\n");
}

TEST(PictureText, FitsItsWidthAtAnyShape) {
  for (const int64_t rows : {1, 2, 7, 79, 81, 1000, 100'000}) {
    for (const int64_t keys : {1, 2, 7, 79, 81, 1000, 100'000}) {
      for (const int32_t columns : {1, 20, 80}) {
        const std::string text =
            picture_text(masks::full(rows, keys), {.columns = columns, .labels = false});
        int32_t width = 0, lines = 0;
        for (const char c : text) {
          if (c == '\n') {
            EXPECT_LE(width, columns) << rows << " × " << keys;
            width = 0;
            ++lines;
          } else if ((c & 0xc0) != 0x80) {
            ++width;
          }
        }
        EXPECT_GE(lines, 1);
        EXPECT_LE(lines, columns) << rows << " × " << keys;
      }
    }
  }
  EXPECT_THROW(picture_text(masks::causal(3), {.columns = 0}), Error);
  EXPECT_THROW(picture_text(masks::causal(3), {.head = 1}), Error);
}

picture::Color pixel(const picture::Raster& raster, int32_t x, int32_t y) {
  const size_t at =
      (static_cast<size_t>(y) * static_cast<size_t>(raster.width) + static_cast<size_t>(x)) * 3;
  return {raster.rgb[at], raster.rgb[at + 1], raster.rgb[at + 2]};
}

TEST(PicturePanel, ColoursTellTheClassOfTheTile) {
  const ColumnMask mask = masks::causal(4);
  const MaskPlan plan(mask, {2, 2});
  picture::RasterCanvas canvas;
  canvas.begin(40, 40, picture::kPaper, "");
  const PicturePanel panel{.mask = &mask, .plan = &plan};
  draw_panel(canvas, panel, panel_layout(canvas, mask, 40), 0, 0);
  const picture::Raster& raster = canvas.raster();  // cells of 20 × 20 pixels
  EXPECT_EQ(raster.width, 80);
  EXPECT_EQ(pixel(raster, 10, 10), picture::kVisiblePartial);
  EXPECT_EQ(pixel(raster, 30, 10), picture::kMaskedPartial);
  EXPECT_EQ(pixel(raster, 50, 10), picture::kSkipped);
  EXPECT_EQ(pixel(raster, 10, 50), picture::kVisible);
  EXPECT_EQ(pixel(raster, 40, 10), picture::kPaper) << "the line between two tiles";
}

std::string png_of(const ColumnMask& mask) {
  return png_bytes({.title = "A mask", .panels = {{.mask = &mask}}, .panel_points = 100});
}

uint32_t big_endian(std::string_view bytes) {
  uint32_t value = 0;
  for (const char c : bytes.substr(0, 4)) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

TEST(PicturePng, IsAPngOfTheRightSize) {
  const std::string png = png_of(masks::causal(10));
  ASSERT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n");
  EXPECT_EQ(png.substr(12, 4), "IHDR");
  EXPECT_GE(big_endian(std::string_view(png).substr(16)), 200u + 96u);
  EXPECT_LE(big_endian(std::string_view(png).substr(16)), 2000u);
  EXPECT_NE(png.find("IEND"), png.npos);
  EXPECT_EQ(png, png_of(masks::causal(10))) << "two runs agree to the byte";
}

TEST(PicturePng, TakesAnyShape) {
  EXPECT_FALSE(png_of(masks::full(1, 100'000)).empty());
  EXPECT_FALSE(png_of(masks::full(100'000, 1)).empty());
  EXPECT_FALSE(png_of(masks::causal(1)).empty());
}

TEST(PictureSvg, EscapesTextAndStaysSmall) {
  const ColumnMask mask = masks::random_eviction(100'000, 50'000, 1, 1);
  const MaskPlan plan(mask, {128, 128});
  const std::string svg = svg_text({.title = "<script>\"&' \x01 \xc3\xa9",
                                    .panels = {{.mask = &mask, .plan = &plan}},
                                    .panel_points = 100});
  EXPECT_EQ(svg.find("<script"), svg.npos);
  EXPECT_NE(svg.find("&lt;script&gt;&quot;&amp;&apos;"), svg.npos);
  EXPECT_TRUE(std::all_of(svg.begin(), svg.end(),
                          [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); }));
  EXPECT_EQ(svg.rfind("<svg", 0), 0u);
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
  EXPECT_LT(svg.size(), 1'000'000u);
}

TEST(PictureFiles, ErrorsNameWhatWasFound) {
  const auto refused = [](const Picture& picture, const std::string& part) {
    try {
      write_png("/nowhere/at/all.png", picture);
      FAIL() << "accepted; expected: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  const ColumnMask mask = masks::causal(4);
  refused({}, "no panels");
  refused({.panels = {{.mask = &mask}}, .across = 0}, "side by side");
  refused({.panels = {{.mask = &mask}}, .panel_points = 1'000'000}, "expected 16 … 2048");
  refused({.panels = {{.mask = &mask, .head = 3}}}, "head 3");
  refused({.panels = {{.mask = &mask}}}, "'/nowhere/at/all.png'");
}

TEST(PictureFont, DrawsPrintableAscii) {
  for (char c = '!'; c <= '~'; ++c) {
    const std::string_view line(&c, 1);
    EXPECT_FALSE(picture::text_strokes(line, 10).empty()) << c;
    EXPECT_GE(picture::text_width(line, 10), 0) << c;
    EXPECT_LE(picture::text_width(line, 10), 10) << c;
  }
  EXPECT_TRUE(picture::text_strokes("  ", 10).empty());
  EXPECT_FALSE(picture::text_strokes("\xff\x01", 10).empty()) << "drawn as boxes";
}

}  // namespace
}  // namespace heddle
