// The twelve masks of Figure 1 of the FlashMask paper (arXiv 2410.01359), N = 10: FlashMask's own
// vectors go in through the importer, and each builder must draw the same picture.
#include <gtest/gtest.h>

#include "heddle/mask/algebra.h"
#include "heddle/mask/builders.h"
#include "tests/mask/dense.h"

namespace heddle {
namespace {

using Column = std::vector<int32_t>;

constexpr int kTokens = 10;

ColumnMask import_columns(const std::vector<Column>& columns, bool causal) {
  const auto n = static_cast<int64_t>(columns.size());
  Tensor indices = Tensor::empty({1, kTokens, n}, DType::i32);  // [mask_heads, Sk, n]
  for (int64_t key = 0; key < kTokens; ++key) {
    for (int64_t c = 0; c < n; ++c) {
      indices.data<int32_t>()[key * n + c] =
          columns[static_cast<size_t>(c)][static_cast<size_t>(key)];
    }
  }
  return masks::from_startend_row_indices(indices, kTokens, causal);
}

/// The picture as drawn: '#' may look, '.' may not; rows top to bottom.
test::Dense drawn(const std::vector<std::string>& rows) {
  return test::Dense(1, kTokens, kTokens, [&](int, int row, int key) {
    return rows[static_cast<size_t>(row)][static_cast<size_t>(key)] == '#';
  });
}

TEST(Figure1, CausalWithPaddingRows) {
  const ColumnMask mask = import_columns({Column(10, 8)}, true);
  const test::Dense expected(1, 10, 10, [](int, int i, int j) { return i < 8 && j <= i; });
  EXPECT_TRUE(test::same(mask, expected));
  EXPECT_TRUE(
      test::same(masks::intersect(masks::causal(10), masks::valid_rows(10, 10, 8)), expected));
}

TEST(Figure1, SlidingWindow) {
  const ColumnMask mask = import_columns({{3, 4, 5, 6, 7, 8, 9, 10, 10, 10}}, true);
  EXPECT_TRUE(test::same(masks::sliding_window(10, 3), test::Dense(mask)));
  EXPECT_EQ(mask.visible_pairs(), 1 + 2 + 3 * 8);
}

TEST(Figure1, CausalDocument) {
  const ColumnMask mask = import_columns({{4, 4, 4, 4, 7, 7, 7, 10, 10, 10}}, true);
  EXPECT_TRUE(test::same(masks::causal_document({4, 3, 3}), test::Dense(mask)));
  EXPECT_EQ(mask.visible_pairs(), 10 + 6 + 6);
}

TEST(Figure1, Document) {
  const ColumnMask mask =
      import_columns({{4, 4, 4, 4, 7, 7, 7, 10, 10, 10}, {0, 0, 0, 0, 4, 4, 4, 7, 7, 7}}, false);
  EXPECT_TRUE(test::same(masks::document({4, 3, 3}), test::Dense(mask)));
  EXPECT_EQ(mask.visible_pairs(), 16 + 9 + 9);
}

TEST(Figure1, SharedQuestion) {
  const ColumnMask mask = import_columns({{10, 10, 10, 10, 7, 7, 7, 10, 10, 10}}, true);
  EXPECT_TRUE(test::same(mask, drawn({"#.........",  //
                                      "##........",  //
                                      "###.......",  //
                                      "####......",  //
                                      "#####.....",  //
                                      "######....",  //
                                      "#######...",  //
                                      "####...#..",  //
                                      "####...##.",  //
                                      "####...###"})));
  EXPECT_TRUE(test::same(masks::shared_question({{4, {3, 3}}}), test::Dense(mask)));
}

TEST(Figure1, GlobalSliding) {
  const ColumnMask mask = import_columns({{10, 10, 4, 5, 6, 7, 8, 9, 10, 10},
                                          Column(10, 10),
                                          {0, 0, 0, 0, 2, 2, 2, 2, 2, 2},
                                          {0, 0, 0, 0, 3, 4, 5, 6, 7, 8}},
                                         false);
  EXPECT_TRUE(test::same(mask, drawn({"##########",  //
                                      "##########",  //
                                      "####......",  //
                                      "#####.....",  //
                                      "##.###....",  //
                                      "##..###...",  //
                                      "##...###..",  //
                                      "##....###.",  //
                                      "##.....###",  //
                                      "##......##"})));
  EXPECT_TRUE(test::same(masks::global_sliding(10, 2, 1, 1), test::Dense(mask)));
}

TEST(Figure1, CausalBlockwise) {
  const ColumnMask mask = import_columns(
      {{4, 4, 4, 4, 10, 10, 10, 10, 10, 10}, {7, 7, 7, 7, 10, 10, 10, 10, 10, 10}}, true);
  EXPECT_TRUE(test::same(masks::causal_blockwise({4, 3, 3}), test::Dense(mask)));
  EXPECT_FALSE(mask.allowed(0, 4, 3));
  EXPECT_TRUE(mask.allowed(0, 7, 3));
}

TEST(Figure1, PrefixLmDocument) {
  const ColumnMask mask =
      import_columns({{3, 3, 3, 5, 5, 10, 10, 10, 10, 10}, {0, 0, 2, 3, 3, 5, 5, 7, 8, 9}}, false);
  EXPECT_TRUE(test::same(masks::prefix_lm_document({{3, 2}, {2, 2}, {5, 2}}), test::Dense(mask)));
  EXPECT_TRUE(mask.allowed(0, 0, 1));
  EXPECT_FALSE(mask.allowed(0, 1, 2));
}

TEST(Figure1, PrefixLmCausal) {
  const ColumnMask mask = import_columns({Column(10, 10), {0, 0, 0, 0, 0, 5, 6, 7, 8, 9}}, false);
  EXPECT_TRUE(test::same(masks::prefix_lm_causal(10, 5), test::Dense(mask)));
  EXPECT_EQ(mask.bounds_stored(), 1);
}

TEST(Figure1, QkSparse) {
  const ColumnMask mask = import_columns(
      {{10, 10, 2, 3, 4, 5, 6, 7, 10, 10}, {10, 10, 5, 5, 5, 5, 8, 8, 10, 10}}, true);
  EXPECT_TRUE(test::same(mask, drawn({"#.........",  //
                                      "##........",  //
                                      "##........",  //
                                      "##........",  //
                                      "##........",  //
                                      "######....",  //
                                      "######....",  //
                                      "######....",  //
                                      "#########.",  //
                                      "##########"})));
  EXPECT_TRUE(test::same(masks::qk_sparse(10, {{2, 5}, {6, 8}}), test::Dense(mask)));
}

TEST(Figure1, HashSparse) {
  const Column lts = {2, 2, 4, 5, 5, 8, 8, 9, 10, 10};
  const Column ute = {0, 0, 1, 3, 4, 4, 5, 7, 8, 9};
  const ColumnMask mask = import_columns({lts, ute}, false);
  EXPECT_TRUE(test::same(masks::hash_sparse(10, lts, ute), test::Dense(mask)));
  EXPECT_EQ(mask.visible_pairs(), 2 + 2 + 3 + 2 + 1 + 4 + 3 + 2 + 2 + 1);
}

TEST(Figure1, RandomEviction) {
  const ColumnMask mask = import_columns({{10, 4, 8, 6, 10, 7, 10, 9, 10, 10}}, true);
  EXPECT_TRUE(test::same(mask, drawn({"#.........",  //
                                      "##........",  //
                                      "###.......",  //
                                      "####......",  //
                                      "#.###.....",  //
                                      "#.####....",  //
                                      "#.#.###...",  //
                                      "#.#.#.##..",  //
                                      "#...#.###.",  //
                                      "#...#.#.##"})));
}

}  // namespace
}  // namespace heddle
