// What must be equal to the bit on the GPU: skipping dead tiles or not, one run and the next,
// hidden numbers or others in their place. And the plan that the GPU builds against the host's.
#include <gtest/gtest.h>

#include <cmath>

#include "heddle/attention/cuda/tiles.h"
#include "heddle/base/random.h"
#include "heddle/mask/builders.h"
#include "heddle/mask/families.h"
#include "tests/attention/gpu_case.h"

namespace heddle::test {
namespace {

using attention::cuda::Direction;
using cuda::TileAxis;
using cuda::TileBits;

class ExactGpu : public testing::Test {
 protected:
  void SetUp() override {
    if (cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  }
};

/// How many numbers differ in their bits; NaN equals NaN.
int64_t differences(const std::vector<double>& a, const std::vector<double>& b) {
  int64_t count = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    count += !(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i])));
  }
  return count;
}

void expect_same(const CaseResults& a, const CaseResults& b, const std::string& text) {
  EXPECT_EQ(differences(a.out, b.out), 0) << "out; " << text;
  EXPECT_EQ(differences(a.lse, b.lse), 0) << "lse; " << text;
  EXPECT_EQ(differences(a.d_q, b.d_q), 0) << "d_q; " << text;
  EXPECT_EQ(differences(a.d_k, b.d_k), 0) << "d_k; " << text;
  EXPECT_EQ(differences(a.d_v, b.d_v), 0) << "d_v; " << text;
}

std::vector<uint32_t> download_words(const TileBits& bits, int64_t sets) {
  const int64_t count = sets * bits.tiles * bits.words_per_tile * 2;
  const Tensor words = Tensor::wrap(bits.words, {count}, {1}, DType::i32, gpu().device());
  const Tensor host = cuda::to_host(words, gpu());
  const auto* data = host.data<int32_t>();
  return {data, data + count};
}

/// Makes every tile of a plan live and partial: nothing is skipped, every element is tested.
void visit_all(DeviceMask& mask, int family, TileAxis axis, int64_t head_dim, Direction direction) {
  const auto shared = attention::cuda::shared_memory_class(
      static_cast<int64_t>(cuda::shared_memory_per_block(gpu().device().index)));
  const int padded = attention::cuda::padded_head_dim(static_cast<int>(head_dim));
  const auto tile = attention::cuda::tile(family, padded, direction, shared);
  const TileBits& bits = mask.tiles(axis, {tile.rows, tile.keys});
  const auto& columns = mask.columns();
  const int other = axis == TileAxis::query ? (columns.key_length - 1) / tile.keys + 1
                                            : (columns.query_length - 1) / tile.rows + 1;
  const int64_t lists = int64_t{columns.heads} * bits.tiles;
  Tensor words = Tensor::zeros({lists * bits.words_per_tile * 2}, DType::i32);
  Tensor counts = Tensor::empty({lists}, DType::i32);
  for (int64_t list = 0; list < lists; ++list) {
    counts.data<int32_t>()[list] = other;
    for (int at = 0; at < other; ++at) {
      int32_t& word = words.data<int32_t>()[(list * bits.words_per_tile + at / 32) * 2];
      word = static_cast<int32_t>(static_cast<uint32_t>(word) | (1u << (at % 32)));
    }
  }
  const Device device = gpu().device();
  cuda::copy(words, Tensor::wrap(bits.words, words.shape(), {1}, DType::i32, device),
             gpu().stream());
  cuda::copy(counts, Tensor::wrap(bits.counts, counts.shape(), {1}, DType::i32, device),
             gpu().stream());
  gpu().synchronize();
}

TEST_F(ExactGpu, SkippingChangesNoBit) {
  for (const std::string_view name : masks::family_names()) {
    for (const int64_t head_dim : {64, 128, 256}) {
      CaseShape shape;
      shape.head_dim = head_dim;
      shape.deterministic = true;
      for (const std::string& row : gpu_rows(shape)) {
        GpuCase problem(masks::family(name, 500, 2, 9), shape, gpu());
        const CaseResults skipping = problem.run(row);
        const int family = row == "cuda-sm90" ? 90 : 80;
        DeviceMask& mask = problem.device_mask();
        visit_all(mask, family, TileAxis::query, head_dim, Direction::forward);
        visit_all(mask, family, TileAxis::key, head_dim, Direction::backward);
        if (family == 80) {
          visit_all(mask, family, TileAxis::query, head_dim, Direction::query_gradient);
        }
        expect_same(skipping, problem.run(row), str(row, " ", name, " ", problem.text()));
      }
    }
  }
}

TEST_F(ExactGpu, RunsAreEqual) {
  for (const int64_t head_dim : {64, 128, 256}) {
    CaseShape shape;
    shape.head_dim = head_dim;
    shape.heads = 4;
    shape.deterministic = true;
    GpuCase problem(masks::family("causal-document", 1500, 2, 9), shape, gpu());
    for (const std::string& row : gpu_rows(shape)) {
      const CaseResults first = problem.run(row);
      for (int i = 0; i < 20; ++i) {
        expect_same(first, problem.run(row), str(row, " ", problem.text()));
      }
    }
  }
}

/// Large numbers in some keys, then in some rows, must change nothing for those who see none of
/// them.
void expect_hidden(std::string_view name, const CaseShape& shape, const std::string& row) {
  const ColumnMask mask = masks::family(name, 400, 1, 4);
  GpuCase plain(mask, shape, gpu()), poisoned(mask, shape, gpu()), other(mask, shape, gpu());
  Random random(11);
  std::vector<int64_t> rows, keys;
  for (int i = 0; i < 3; ++i) rows.push_back(random.between(0, 399));
  for (int i = 0; i < 3; ++i) keys.push_back(random.between(0, 399));
  poisoned.fill_keys(keys, 1e4f);
  other.fill_rows(rows, 1e4f);
  const CaseResults expected = plain.run(row), with_keys = poisoned.run(row),
                    with_rows = other.run(row);
  int64_t by_keys = 0, by_rows = 0;
  for (int32_t at = 0; at < 400; ++at) {
    bool sees = false, seen = false;
    for (const int64_t key : keys) sees |= mask.allowed(0, at, static_cast<int32_t>(key));
    for (const int64_t query : rows) seen |= mask.allowed(0, static_cast<int32_t>(query), at);
    for (size_t i = static_cast<size_t>(at) * 128; i < static_cast<size_t>(at + 1) * 128; ++i) {
      by_keys +=
          !sees && (expected.out[i] != with_keys.out[i] || expected.d_q[i] != with_keys.d_q[i]);
      by_rows +=
          !seen && (expected.d_k[i] != with_rows.d_k[i] || expected.d_v[i] != with_rows.d_v[i]);
    }
  }
  EXPECT_EQ(by_keys, 0) << row << " " << name << ": poisoned keys";
  EXPECT_EQ(by_rows, 0) << row << " " << name << ": poisoned rows";
}

TEST_F(ExactGpu, HiddenNumbersChangeNoBit) {
  for (const std::string_view name : masks::family_names()) {
    CaseShape shape;
    shape.head_dim = 128;
    shape.deterministic = true;
    shape.heads = shape.kv_heads = 1;
    for (const std::string& row : gpu_rows(shape)) expect_hidden(name, shape, row);
  }
}

void expect_no_leak(const CaseShape& shape, const std::string& row) {
  constexpr int64_t kPart = 384;  // of two documents, which no tile of up to 192 crosses
  const ColumnMask mask = masks::document({kPart, kPart});
  GpuCase plain(mask, shape, gpu()), poisoned(mask, shape, gpu());
  std::vector<int64_t> second;
  for (int64_t i = kPart; i < 2 * kPart; ++i) second.push_back(i);
  poisoned.fill_keys(second, std::nanf(""));
  poisoned.fill_rows(second, std::nanf(""));
  const CaseResults a = plain.run(row), b = poisoned.run(row);
  int64_t leaks = 0, silent = 0;
  const auto half = static_cast<size_t>(kPart * shape.head_dim);
  for (size_t i = 0; i < half; ++i) {
    leaks += std::isnan(b.out[i]) || std::isnan(b.d_q[i]) || std::isnan(b.d_k[i]) ||
             std::isnan(b.d_v[i]) || a.out[i] != b.out[i];
    silent += !std::isnan(b.out[half + i]);
  }
  EXPECT_EQ(leaks, 0) << row << " " << plain.text();
  EXPECT_EQ(silent, 0) << "NaN that is seen must show; " << row << " " << plain.text();
}

TEST_F(ExactGpu, NaNInDeadTilesDoesNotLeak) {
  for (const bool deterministic : {false, true}) {
    for (const int64_t head_dim : {64, 128, 256}) {
      CaseShape shape;
      shape.head_dim = head_dim;
      shape.deterministic = deterministic;
      shape.heads = shape.kv_heads = 1;
      for (const std::string& row : gpu_rows(shape)) expect_no_leak(shape, row);
    }
  }
}

TEST_F(ExactGpu, NothingPastTheEndIsReadOrWritten) {
  for (const int64_t length : {1, 63, 77, 129, 200}) {
    for (const int64_t head_dim : {64, 80, 128, 256}) {
      for (const bool deterministic : {false, true}) {
        CaseShape shape;
        shape.head_dim = head_dim;
        shape.deterministic = deterministic;
        shape.spare = 130;
        GpuCase problem(masks::causal(length), shape, gpu());
        expect_correct(problem);
      }
    }
  }
}

/// The GPU's bits against the host's runs; tiles cut by an end are full for the host only.
void expect_plan(const ColumnMask& mask, TileShape shape, const std::string& text) {
  DeviceMask device(mask, gpu());
  const MaskPlan plan(mask, shape);
  for (const TileAxis axis : {TileAxis::query, TileAxis::key}) {
    const TileBits& bits = device.tiles(axis, shape);
    const std::vector<uint32_t> words = download_words(bits, mask.heads());
    const Tensor order = cuda::to_host(Tensor::wrap(bits.order, {mask.heads(), bits.tiles},
                                                    {bits.tiles, 1}, DType::i32, gpu().device()),
                                       gpu());
    int64_t wrong = 0, disorder = 0;
    for (int32_t head = 0; head < mask.heads(); ++head) {
      int32_t before = 0x7fffffff;
      for (int32_t tile = 0; tile < bits.tiles; ++tile) {
        const size_t list = static_cast<size_t>(head * bits.tiles + tile);
        std::vector<uint32_t> expected(static_cast<size_t>(bits.words_per_tile) * 2);
        const auto runs = axis == TileAxis::query ? plan.runs_of_query_tile(head, tile)
                                                  : plan.runs_of_key_tile(head, tile);
        for (const TileRun run : runs) {
          for (int32_t at = run.first; at < run.first + static_cast<int32_t>(run.count); ++at) {
            const int32_t query = axis == TileAxis::query ? tile : at;
            const int32_t key = axis == TileAxis::query ? at : tile;
            const bool cut = (query + 1) * shape.rows > mask.query_length() ||
                             (key + 1) * shape.keys > mask.key_length();
            expected[static_cast<size_t>(at / 32) * 2] |= 1u << (at % 32);
            if (run.full && !cut) expected[static_cast<size_t>(at / 32) * 2 + 1] |= 1u << (at % 32);
          }
        }
        for (size_t i = 0; i < expected.size(); ++i) {
          wrong += words[list * expected.size() + i] != expected[i];
        }
        const int32_t placed = order.data<int32_t>()[list];
        const int32_t count = axis == TileAxis::query ? plan.live_tiles_of_query_tile(head, placed)
                                                      : plan.live_tiles_of_key_tile(head, placed);
        disorder += count > before;
        before = count;
      }
    }
    EXPECT_EQ(wrong, 0) << text << (axis == TileAxis::query ? ", by query" : ", by key");
    EXPECT_EQ(disorder, 0) << text;
  }
}

TEST_F(ExactGpu, PlanAgreesWithHost) {
  for (const std::string_view name : masks::family_names()) {
    for (const int64_t length : {5, 127, 1000, 5000}) {
      const ColumnMask mask = masks::family(name, length, 2, 21);
      for (const TileShape shape : {TileShape{128, 64}, {64, 128}, {64, 64}}) {
        expect_plan(mask, shape, str(name, " ", length, ", tiles ", shape.rows, " × ", shape.keys));
      }
    }
  }
  expect_plan(masks::cross_document({3, 500, 0, 97}, {300, 1, 44, 1000}), {64, 128}, "cross");
}

}  // namespace
}  // namespace heddle::test
