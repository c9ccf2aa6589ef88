// FlashMask's tensor in its four forms, dense pictures, row subsets and intersections.
#include <gtest/gtest.h>

#include "heddle/mask/algebra.h"
#include "heddle/mask/builders.h"
#include "tests/mask/dense.h"
#include "tests/mask/random_masks.h"

namespace heddle {
namespace {

/// FlashMask's rule for its own tensor, as its documentation words it.
bool flashmask_allows(const int32_t* c, int n, bool causal, int i, int j, int rows, int keys) {
  if (causal) {
    if (i < j - (keys - rows)) return false;
    return n == 1 ? i < c[0] : !(c[0] <= i && i < c[1]);
  }
  if (n == 2) return !(c[0] <= i) && !(i < c[1]);
  return !(c[0] <= i && i < c[1]) && !(c[2] <= i && i < c[3]);
}

TEST(StartEnd, AllFourFormsRectangularAndByHead) {
  struct Form {
    int n;
    bool causal;
  };
  Random random(3);
  for (const Form form : {Form{1, true}, {2, true}, {2, false}, {4, false}}) {
    for (int turn = 0; turn < 150; ++turn) {
      const int heads = static_cast<int>(random.between(1, 3));
      const int rows = static_cast<int>(random.between(1, 20));
      const int keys = static_cast<int>(random.between(1, 20));
      Tensor indices = Tensor::empty({heads, keys, form.n}, DType::i32);  // [mask_heads, Sk, n]
      auto* data = indices.data<int32_t>();
      for (int64_t at = 0; at < heads * keys; ++at) {
        for (int c = 0; c < form.n; ++c) {
          const bool is_end = c % 2 == 1 && (form.causal || form.n == 4);
          const int64_t least = is_end ? data[at * form.n + c - 1] : 0;
          data[at * form.n + c] = static_cast<int32_t>(random.between(least, rows));
        }
      }
      const ColumnMask mask = masks::from_startend_row_indices(indices, rows, form.causal);
      ASSERT_TRUE(test::same(mask, test::Dense(heads, rows, keys, [&](int h, int i, int j) {
                               return flashmask_allows(data + (h * keys + j) * form.n, form.n,
                                                       form.causal, i, j, rows, keys);
                             })));
    }
  }
}

TEST(StartEnd, ReadsStridedTensors) {
  std::vector<int32_t> data = {4, -7, 4, -7, 2, -7, 4, -7};  // every second value is not ours
  const Tensor indices = Tensor::wrap(data.data(), {1, 4, 1}, {8, 2, 1}, DType::i32);
  const ColumnMask mask = masks::from_startend_row_indices(indices, 4, true);
  EXPECT_EQ(mask.column(0, 2).lts, 2);
  EXPECT_EQ(mask.bounds_stored(), 1);
}

Tensor dense_tensor(const test::Dense& dense) {
  Tensor tensor =
      Tensor::empty({dense.heads, dense.rows, dense.keys}, DType::u8);  // [heads, Tq, Tk]
  auto* data = static_cast<uint8_t*>(tensor.raw());
  for (int head = 0; head < dense.heads; ++head) {
    for (int row = 0; row < dense.rows; ++row) {
      for (int key = 0; key < dense.keys; ++key) *data++ = dense.at(head, row, key) ? 200 : 0;
    }
  }
  return tensor;
}

TEST(FromDense, RoundTripsWhateverFits) {
  Random random(4);
  int fitted = 0;
  for (int turn = 0; turn < 400; ++turn) {
    // A causal mask with two more intervals fits only when its diagonal is the bottom-right one.
    const bool causal = turn % 2 == 0;
    const ColumnMask mask =
        test::random_mask(random, {random.between(1, 12), random.between(1, 12),
                                   random.between(1, 2), causal, causal ? 1 : 4});
    const test::Dense dense(mask);
    ASSERT_TRUE(test::same(masks::from_dense(dense_tensor(dense)), dense));
    ++fitted;
  }
  EXPECT_EQ(fitted, 400);
}

TEST(FromDense, KeepsTheCompactForms) {
  const auto bounds = [](const ColumnMask& mask) {
    return masks::from_dense(dense_tensor(test::Dense(mask))).bounds_stored();
  };
  EXPECT_EQ(bounds(masks::full(9, 9)), 0);
  EXPECT_EQ(bounds(masks::causal(9)), 0);
  EXPECT_EQ(bounds(masks::sliding_window(9, 3)), 1);
  EXPECT_EQ(bounds(masks::document({4, 5})), 2);
  EXPECT_TRUE(masks::from_dense(dense_tensor(test::Dense(masks::causal(9)))).causal());
}

TEST(FromDense, NamesTheFirstColumnThatNeedsMore) {
  // Column 2 is visible in rows 1, 3, 5: masked in rows 0, 2, 4, 6.
  const test::Dense dense(1, 7, 7, [](int, int i, int j) { return j < 2 || j > 4 || i % 2 == 1; });
  try {
    masks::from_dense(dense_tensor(dense));
    FAIL() << "expected an error";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(),
                 "from_dense: column 2 of head 0 needs 4 masked intervals; expected at most 2");
  }
}

TEST(SelectRows, MapsEveryBoundToTheKeptRowsBeforeIt) {
  Random random(5);
  for (int turn = 0; turn < 400; ++turn) {
    const bool causal = turn % 2 == 0;
    const ColumnMask mask = test::random_mask(
        random, {random.between(2, 30), random.between(1, 30), 1, causal, causal ? 1 : 4});
    std::vector<int32_t> rows;
    while (rows.empty()) {
      for (int32_t row = 0; row < mask.query_length(); ++row) {
        if (random.below(3) != 0) rows.push_back(row);
      }
    }
    const ColumnMask part = masks::select_rows(mask, rows);
    ASSERT_TRUE(test::same(part, test::Dense(1, static_cast<int>(rows.size()), mask.key_length(),
                                             [&](int, int i, int j) {
                                               return mask.allowed(0, rows[static_cast<size_t>(i)],
                                                                   j);
                                             })));
  }
}

TEST(SelectRows, ConsecutiveRowsStayCausalWithAllTheirIntervals) {
  Random random(6);
  for (int turn = 0; turn < 200; ++turn) {
    const ColumnMask mask =
        test::random_mask(random, {random.between(3, 30), random.between(1, 30), 2, true, 4});
    const auto first = static_cast<int32_t>(random.between(0, mask.query_length() - 1));
    const auto last = static_cast<int32_t>(random.between(first, mask.query_length() - 1));
    std::vector<int32_t> rows;
    for (int32_t row = first; row <= last; ++row) rows.push_back(row);
    const ColumnMask part = masks::select_rows(mask, rows);
    EXPECT_TRUE(part.causal());
    ASSERT_TRUE(test::same(part, test::Dense(2, static_cast<int>(rows.size()), mask.key_length(),
                                             [&](int head, int i, int j) {
                                               return mask.allowed(head, first + i, j);
                                             })));
  }
}

TEST(SelectRows, OfASelectionIsTheSelectionOfBoth) {
  const ColumnMask mask = masks::shared_question({{5, {4, 3}}, {2, {6}}});
  const std::vector<int32_t> outer = {0, 2, 3, 5, 8, 9, 11, 15, 19}, inner = {1, 3, 4, 8};
  std::vector<int32_t> both;
  for (const int32_t i : inner) both.push_back(outer[static_cast<size_t>(i)]);
  EXPECT_TRUE(test::same(masks::select_rows(masks::select_rows(mask, outer), inner),
                         test::Dense(masks::select_rows(mask, both))));
}

TEST(SelectRows, RefusesRowsOutOfOrderOrRange) {
  const ColumnMask mask = masks::causal(4);
  for (const std::vector<int32_t>& rows :
       {std::vector<int32_t>{}, {1, 1}, {2, 1}, {0, 4}, {-1, 0}}) {
    EXPECT_THROW(masks::select_rows(mask, rows), Error);
  }
}

TEST(Intersect, AllowsWhatBothAllow) {
  Random random(8);
  int fitted = 0;
  for (int turn = 0; turn < 600; ++turn) {
    const int64_t rows = random.between(1, 20), keys = random.between(1, 20);
    const ColumnMask a = test::random_mask(
        random,
        {rows, keys, turn % 3 == 0 ? 2 : 1, turn % 2 == 0, static_cast<int>(random.below(5))});
    const ColumnMask b = test::random_mask(random, {rows, keys, turn % 5 == 0 ? 2 : 1, turn % 4 < 2,
                                                    static_cast<int>(random.below(5))});
    const int heads = std::max(a.heads(), b.heads());
    const test::Dense expected(heads, static_cast<int>(rows), static_cast<int>(keys),
                               [&](int head, int i, int j) {
                                 return a.allowed(std::min(head, a.heads() - 1), i, j) &&
                                        b.allowed(std::min(head, b.heads() - 1), i, j);
                               });
    try {
      ASSERT_TRUE(test::same(masks::intersect(a, b), expected));
      ++fitted;
    } catch (const Error&) {
      // More than two gaps in some column, beside the causal one.
      const bool causal = a.causal() || b.causal();
      int most = 0;
      for (int head = 0; head < heads; ++head) {
        for (int j = 0; j < keys; ++j) {
          int gaps = 0;
          for (int i = 0; i < rows; ++i) {
            gaps += !expected.at(head, i, j) && (i == 0 || expected.at(head, i - 1, j));
          }
          most = std::max(most, gaps);
        }
      }
      ASSERT_GT(most, 2) << (causal ? "causal" : "not causal");
    }
  }
  EXPECT_GT(fitted, 200);
}

TEST(Intersect, DocumentsUnderAWindow) {
  const ColumnMask mask =
      masks::intersect(masks::causal_document({5, 7}), masks::sliding_window(12, 3));
  EXPECT_EQ(mask.bounds_stored(), 1);
  EXPECT_TRUE(test::same(mask, test::Dense(1, 12, 12, [](int, int i, int j) {
                           return j <= i && i - j < 3 && (i < 5) == (j < 5);
                         })));
}

TEST(Intersect, RefusesOtherShapes) {
  EXPECT_THROW(masks::intersect(masks::causal(4), masks::causal(5)), Error);
  EXPECT_THROW(
      masks::intersect(masks::random_eviction(4, 2, 2, 0), masks::random_eviction(4, 2, 3, 0)),
      Error);
}

}  // namespace
}  // namespace heddle
