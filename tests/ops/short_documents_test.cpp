// Documents computed one by one against the reference, and masks that are not of that kind.
#include "heddle/attention/cpu/short_documents.h"

#include "heddle/mask/builders.h"
#include "tests/ops/cases.h"

namespace heddle::attention {
namespace {

using namespace ops::cases;

struct Results {
  std::vector<float> out, lse;
};

Results run(const ColumnMask& mask, int64_t heads, int64_t kv_heads, int64_t dim,
            std::string_view row) {
  const int64_t rows = mask.query_length(), keys = mask.key_length();
  const auto values = [&](int64_t count, int64_t its_heads, uint64_t seed) {
    return tensor_of(normal_values(count * its_heads * dim, 1, seed), {count, its_heads, dim});
  };
  Results results{std::vector<float>(static_cast<size_t>(rows * heads * dim), 7.0f),
                  std::vector<float>(static_cast<size_t>(rows * heads), 7.0f)};
  forward({.q = values(rows, heads, 1),
           .k = values(keys, kv_heads, 2),
           .v = values(keys, kv_heads, 3),
           .out = Tensor::wrap(results.out.data(), {rows, heads, dim}, {heads * dim, dim, 1},
                               DType::f32),
           .lse = Tensor::wrap(results.lse.data(), {heads, rows}, {rows, 1}, DType::f32),
           .mask = &mask},
          row);
  return results;
}

void expect_equal(const std::vector<float>& found, const std::vector<float>& expected) {
  ASSERT_EQ(found.size(), expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::isinf(expected[i])) {
      ASSERT_EQ(found[i], expected[i]) << i;
    } else {
      ASSERT_NEAR(found[i], expected[i], 3e-6) << i;
    }
  }
}

TEST(ShortDocuments, AgainstTheReference) {
  const std::vector<ColumnMask> masks = {masks::document({1, 7, 28, 8, 16, 33, 2}),
                                         masks::document({100}), masks::full(5, 40),
                                         masks::cross_document({3, 0, 9, 4}, {12, 5, 1, 0})};
  for (const ColumnMask& mask : masks) {
    for (const int64_t dim : {16, 32, 64}) {
      const Results found = run(mask, 4, 2, dim, "cpu-documents");
      const Results expected = run(mask, 4, 2, dim, "reference");
      expect_equal(found.out, expected.out);
      expect_equal(found.lse, expected.lse);
    }
  }
}

/// A document has the same bits alone and among others.
TEST(ShortDocuments, DoNotDependOnEachOther) {
  const Results all = run(masks::document({9, 21, 4}), 2, 2, 32, "cpu-documents");
  const Results first = run(masks::document({9}), 2, 2, 32, "cpu-documents");
  expect_same_bits({all.out.begin(), all.out.begin() + 9 * 64}, first.out, "out");
}

TEST(ShortDocuments, OtherMasksAreLeftToOthers) {
  EXPECT_EQ(cpu::documents_of(masks::document({3, 4}), 100).size(), 2u);
  EXPECT_EQ(cpu::documents_of(masks::document({3, 40}), 30).size(), 0u);
  EXPECT_TRUE(cpu::documents_of(masks::causal(8), 100).empty());
  EXPECT_TRUE(cpu::documents_of(masks::sliding_window(8, 3), 100).empty());
  EXPECT_TRUE(cpu::documents_of(masks::local_window(8, 2, 2), 100).empty());
  EXPECT_TRUE(cpu::documents_of(masks::global_sliding(20, 1, 2, 2), 100).empty());
}

}  // namespace
}  // namespace heddle::attention
