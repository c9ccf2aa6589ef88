// Hostile input: every refusal says what was found and what was expected.
#include <gtest/gtest.h>

#include <limits>

#include "heddle/mask/algebra.h"
#include "heddle/mask/builders.h"

namespace heddle {
namespace {

template <typename Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

constexpr int64_t kTwoTo31 = int64_t{1} << 31;

TEST(Hostile, BoundsReversed) {
  EXPECT_EQ(error_of([] {
              ColumnMask({.query_length = 5, .key_length = 2, .lts = {5, 3}, .lte = {5, 2}});
            }),
            "mask: column 1 of head 0 masks rows [lts=3, lte=2); expected 0 <= lts <= lte <= 5");
}

TEST(Hostile, BoundsOutOfRange) {
  EXPECT_EQ(error_of([] { ColumnMask({.query_length = 5, .key_length = 1, .lts = {6}}); }),
            "mask: column 0 of head 0 masks rows [lts=6, lte=5); expected 0 <= lts <= lte <= 5");
  EXPECT_EQ(error_of([] { ColumnMask({.query_length = 5, .key_length = 1, .ute = {-1}}); }),
            "mask: column 0 of head 0 masks rows [uts=0, ute=-1); expected 0 <= uts <= ute <= 5");
  EXPECT_EQ(error_of([] {
              ColumnMask({.query_length = 5,
                          .key_length = 1,
                          .heads = 2,
                          .lts = {0, std::numeric_limits<int32_t>::min()}});
            }),
            "mask: column 0 of head 1 masks rows [lts=-2147483648, lte=5); expected 0 <= lts <= "
            "lte <= 5");
}

TEST(Hostile, SizesThatDoNotMatch) {
  EXPECT_EQ(error_of([] { ColumnMask({.query_length = 5, .key_length = 2, .lts = {5}}); }),
            "mask: lts has 1 values; expected none or 1 heads × 2 keys");
}

TEST(Hostile, EmptyAndTooLong) {
  EXPECT_EQ(error_of([] { masks::causal(0); }), "mask: query length is 0; expected 1 … 1073741824");
  EXPECT_EQ(error_of([] { masks::full(1, -1); }),
            "mask: key length is -1; expected 1 … 1073741824");
  for (const int64_t length : {int64_t{0}, int64_t{-1}, kMaxMaskLength + 1, kTwoTo31,
                               std::numeric_limits<int64_t>::max()}) {
    EXPECT_THROW(masks::causal(length), Error) << length;
    EXPECT_THROW(masks::full(4, length), Error) << length;
    EXPECT_THROW(masks::valid_rows(length, 4, 0), Error) << length;
    EXPECT_THROW(masks::valid_rows(4, length, 0), Error) << length;
    EXPECT_THROW(masks::sliding_window(length, 4), Error) << length;
    EXPECT_THROW(masks::local_window(length, 1, 1), Error) << length;
    EXPECT_THROW(masks::global_sliding(length, 0, 1, 1), Error) << length;
    EXPECT_THROW(masks::prefix_lm_causal(length, 0), Error) << length;
    EXPECT_THROW(masks::qk_sparse(length, {}), Error) << length;
    EXPECT_THROW(masks::random_eviction(length, 1, 1, 0), Error) << length;
    EXPECT_THROW(masks::image_prefix_window(length, 0, 1), Error) << length;
    EXPECT_THROW(masks::hash_sparse(length, {1}, {0}), Error) << length;
  }
}

TEST(Hostile, LengthsThatDoNotSum) {
  EXPECT_EQ(error_of([] {
              masks::causal_document({4, 3}, 8);
            }),
            "causal-document: lengths add up to 7; expected 8");
  EXPECT_EQ(error_of([] {
              masks::document({4, 0, 3});
            }),
            "document: length 1 is 0; expected at least 1");
  EXPECT_EQ(error_of([] { masks::document({}); }),
            "document: found no tokens; expected at least 1");
  EXPECT_EQ(error_of([] {
              masks::document({kMaxMaskLength, 1});
            }),
            "document: lengths 0 … 1 add up to more than 1073741824 tokens");
  for (const masks::Lengths& lengths : {masks::Lengths{},
                                        {0},
                                        {-5, 5},
                                        {kTwoTo31},
                                        {std::numeric_limits<int64_t>::max(), 1},
                                        {kMaxMaskLength, kMaxMaskLength, kMaxMaskLength}}) {
    EXPECT_THROW(masks::document(lengths), Error);
    EXPECT_THROW(masks::causal_document(lengths), Error);
    EXPECT_THROW(masks::causal_blockwise(lengths), Error);
    EXPECT_THROW(masks::hash_buckets(lengths, true), Error);
    EXPECT_THROW(masks::cross_document(lengths, lengths), Error);
    masks::QuestionGroup group{3, lengths};
    if (!lengths.empty()) {
      EXPECT_THROW(masks::shared_question({group}), Error);
    }
    std::vector<masks::PrefixDocument> documents;
    std::vector<masks::TreeNode> nodes;
    for (const int64_t length : lengths) {
      documents.push_back({length, 0});
      nodes.push_back({-1, length});
    }
    EXPECT_THROW(masks::prefix_lm_document(documents), Error);
    EXPECT_THROW(masks::prefix_tree(nodes), Error);
  }
  EXPECT_THROW(masks::shared_question({}), Error);
  EXPECT_THROW(masks::cross_document({3, 4}, {7}), Error);
}

TEST(Hostile, ParametersOutOfRange) {
  EXPECT_EQ(error_of([] { masks::sliding_window(8, 0); }),
            "sliding-window: window is 0; expected 1 … 1073741824");
  EXPECT_EQ(error_of([] { masks::prefix_lm_causal(8, 9); }),
            "prefix-lm-causal: prefix is 9; expected 0 … 8");
  EXPECT_THROW(masks::local_window(8, -1, 0), Error);
  EXPECT_THROW(masks::global_sliding(8, 9, 1, 1), Error);
  EXPECT_THROW(masks::valid_rows(8, 8, 9), Error);
  EXPECT_THROW(masks::random_eviction(8, 0, 1, 0), Error);
  EXPECT_THROW(masks::random_eviction(1 << 20, 1, 1 << 20, 0), Error);
  EXPECT_THROW(masks::prefix_lm_document({{4, 5}}), Error);
  EXPECT_THROW(masks::prefix_lm_document({{4, -1}}), Error);
  EXPECT_THROW(masks::qk_sparse(8, {{4, 2}}), Error);
  EXPECT_THROW(masks::qk_sparse(8, {{2, 4}, {3, 5}}), Error);
  EXPECT_THROW(masks::qk_sparse(8, {{6, 9}}), Error);
  EXPECT_THROW(masks::hash_sparse(8, {4, 3}, {0, 0}), Error);
  EXPECT_THROW(masks::hash_sparse(8, {4, 5}, {1, 0}), Error);
  EXPECT_THROW(masks::hash_sparse(8, {4}, {5}), Error);
  EXPECT_THROW(masks::hash_sparse(8, {4, 5}, {1}), Error);
  EXPECT_THROW(masks::hash_sparse(8, {}, {}), Error);
  EXPECT_THROW(masks::causal_with_offset(8, 8, kTwoTo31), Error);
  EXPECT_THROW(masks::causal_with_offset(8, 8, std::numeric_limits<int64_t>::min()), Error);
}

TEST(Hostile, TreesOutOfOrder) {
  EXPECT_EQ(error_of([] {
              masks::prefix_tree({{-1, 2}, {0, 2}, {0, 2}, {1, 2}});
            }),
            "prefix-tree: node 3 has parent 1; expected −1, or the node before it, or one of that "
            "node's ancestors. Hint: list the nodes in depth-first order");
  EXPECT_THROW(masks::prefix_tree({{0, 2}}), Error);
  EXPECT_THROW(masks::prefix_tree({{-1, 2}, {-2, 2}}), Error);
  EXPECT_THROW(masks::prefix_tree({{-1, 2}, {5, 2}}), Error);
  EXPECT_THROW(masks::tree_positions({{-1, 2}, {1, 2}}), Error);
  EXPECT_THROW(masks::prefix_tree({{-1, 2}}, 3), Error);
}

TEST(Hostile, StartEndTensors) {
  const Tensor two = Tensor::zeros({1, 4, 2}, DType::i32),
               three = Tensor::zeros({1, 4, 3}, DType::i32);
  EXPECT_EQ(error_of([&] { masks::from_startend_row_indices(three, 4, true); }),
            "startend_row_indices: found 3 columns; expected 1 or 2 with causal");
  EXPECT_EQ(error_of([&] { masks::from_startend_row_indices(three, 4, false); }),
            "startend_row_indices: found 3 columns; expected 2 or 4 without causal");
  EXPECT_THROW(masks::from_startend_row_indices(two, 0, true), Error);
  EXPECT_THROW(masks::from_startend_row_indices(two, kTwoTo31, true), Error);
  EXPECT_THROW(masks::from_startend_row_indices(Tensor::zeros({4, 2}, DType::i32), 4, true), Error);
  EXPECT_THROW(masks::from_startend_row_indices(Tensor::zeros({1, 4, 2}, DType::i64), 4, true),
               Error);
  EXPECT_THROW(masks::from_startend_row_indices(Tensor::zeros({0, 4, 2}, DType::i32), 4, true),
               Error);
  EXPECT_THROW(masks::from_startend_row_indices(Tensor::zeros({1, 0, 2}, DType::i32), 4, true),
               Error);
}

TEST(Hostile, DenseTensors) {
  EXPECT_THROW(masks::from_dense(Tensor::zeros({4}, DType::u8)), Error);
  EXPECT_THROW(masks::from_dense(Tensor::zeros({4, 0}, DType::u8)), Error);
  EXPECT_THROW(masks::from_dense(Tensor::zeros({0, 4, 4}, DType::u8)), Error);
  EXPECT_THROW(masks::from_dense(Tensor::zeros({4, 4}, DType::f32)), Error);
}

TEST(Hostile, AccessOutOfRange) {
  const ColumnMask mask = masks::causal(4);
  EXPECT_THROW(mask.allowed(0, 4, 0), Error);
  EXPECT_THROW(mask.allowed(0, 0, -1), Error);
  EXPECT_THROW(mask.column(1, 0), Error);
  EXPECT_THROW(mask.visible_ranges(0, 4), Error);
}

TEST(Hostile, OffsetsAtTheirLimitsStaySane) {
  EXPECT_EQ(masks::causal_with_offset(3, 4, kMaxMaskLength).visible_pairs(), 12);
  EXPECT_EQ(masks::causal_with_offset(3, 4, -kMaxMaskLength).visible_pairs(), 0);
}

}  // namespace
}  // namespace heddle
