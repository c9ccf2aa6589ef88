#include "heddle/data/packer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "heddle/base/error.h"
#include "heddle/base/random.h"
#include "heddle/data/permutation.h"
#include "tests/io/files.h"

namespace heddle::data {
namespace {

using testing::expect_refused;

/// Random pairs; token values tell pair and side.
struct Sample {
  explicit Sample(int pairs, int longest = 30) {
    Random random(11);
    offsets.push_back(0);
    for (int i = 0; i < 2 * pairs; ++i) {
      const auto length = 1 + random.below(static_cast<uint64_t>(longest));
      for (uint64_t j = 0; j < length; ++j) tokens.push_back(i * 100 + static_cast<int>(j));
      offsets.push_back(tokens.size());
    }
  }
  TokenPairs view() const { return {tokens, offsets, weights}; }

  std::vector<int32_t> tokens;
  std::vector<uint64_t> offsets;
  std::vector<float> weights;
};

PackerOptions options(int64_t tokens = 128, int64_t window = 64) {
  PackerOptions made;
  made.max_tokens = tokens;
  made.window = window;
  made.source_end = 7;
  made.target_end = 8;
  made.target_start = 9;
  return made;
}

std::vector<PackedBatch> epoch_of(Packer& packer) {
  std::vector<PackedBatch> batches;
  for (PackedBatch batch; packer.next(batch);) batches.push_back(batch);
  return batches;
}

std::vector<uint64_t> pairs_of(const std::vector<PackedBatch>& batches) {
  std::vector<uint64_t> pairs;
  for (const auto& batch : batches) {
    pairs.insert(pairs.end(), batch.pairs.begin(), batch.pairs.end());
  }
  return pairs;
}

bool same(const PackedBatch& a, const PackedBatch& b) {
  return a.sources == b.sources && a.source_offsets == b.source_offsets && a.targets == b.targets &&
         a.target_offsets == b.target_offsets && a.labels == b.labels && a.weights == b.weights &&
         a.pairs == b.pairs;
}

TEST(Permutation, IsExactAndUniform) {
  for (const uint64_t count : {0, 1, 2, 100, 4096}) {
    const auto order = random_permutation(count, 1, 2);
    EXPECT_EQ(std::set(order.begin(), order.end()).size(), count);
  }
  EXPECT_EQ(random_permutation(100, 1, 2), random_permutation(100, 1, 2));
  EXPECT_NE(random_permutation(100, 1, 2), random_permutation(100, 1, 3));
  EXPECT_NE(random_permutation(100, 1, 2), random_permutation(100, 2, 2));
  // Each of the 24 orders of 4 about 500 times: chi-squared with 23 degrees of freedom.
  std::map<std::vector<uint32_t>, int> seen;
  for (uint64_t i = 0; i < 12'000; ++i) ++seen[random_permutation(4, 99, i)];
  ASSERT_EQ(seen.size(), 24u);
  double chi = 0;
  for (const auto& [order, count] : seen) chi += (count - 500.0) * (count - 500.0) / 500.0;
  EXPECT_LT(chi, 50);
}

TEST(Packer, PacksAsTheModelReads) {
  Sample sample(3);
  sample.weights = {1, 0.5F, 2};
  PackerOptions given = options();
  given.shuffle = false;
  Packer packer(sample.view(), given);
  PackedBatch batch;
  ASSERT_TRUE(packer.next(batch));
  EXPECT_EQ(batch.pairs, (std::vector<uint64_t>{0, 1, 2}));
  EXPECT_EQ(batch.labels.size(), batch.targets.size());
  for (size_t s = 0; s < 3; ++s) {
    const auto source = sample.view().source(s), target = sample.view().target(s);
    const auto a = static_cast<size_t>(batch.source_offsets[s]);
    ASSERT_EQ(static_cast<size_t>(batch.source_offsets[s + 1]) - a, source.size() + 1);
    EXPECT_TRUE(std::equal(source.begin(), source.end(), batch.sources.begin() + a));
    EXPECT_EQ(batch.sources[a + source.size()], 7);
    const auto b = static_cast<size_t>(batch.target_offsets[s]);
    ASSERT_EQ(static_cast<size_t>(batch.target_offsets[s + 1]) - b, target.size() + 1);
    EXPECT_EQ(batch.targets[b], 9);
    EXPECT_TRUE(std::equal(target.begin(), target.end(), batch.targets.begin() + b + 1));
    EXPECT_TRUE(std::equal(target.begin(), target.end(), batch.labels.begin() + b));
    EXPECT_EQ(batch.labels[b + target.size()], 8);
    EXPECT_EQ(batch.weights[b], sample.weights[s]);
  }
  EXPECT_FALSE(packer.next(batch));
}

TEST(Packer, AnEpochHasEveryPairOnceWithinTheBudget) {
  const Sample sample(1000);
  Packer packer(sample.view(), options());
  std::vector<std::vector<uint64_t>> epochs;
  for (int epoch = 0; epoch < 3; ++epoch) {
    const auto batches = epoch_of(packer);
    for (const PackedBatch& batch : batches) {
      EXPECT_LE(batch.sources.size(), 128u);
      EXPECT_LE(batch.targets.size(), 128u);
      EXPECT_GE(batch.sentences(), 1);
    }
    auto pairs = pairs_of(batches);
    epochs.push_back(pairs);
    std::sort(pairs.begin(), pairs.end());
    std::vector<uint64_t> all(1000);
    std::iota(all.begin(), all.end(), 0);
    EXPECT_EQ(pairs, all);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
  EXPECT_EQ(packer.position(), (PackerPosition{3, 0, 0}));
}

TEST(Packer, SeedAndEpochAloneDecide) {
  const Sample sample(500);
  Packer a(sample.view(), options()), b(sample.view(), options());
  PackerOptions reseeded = options();
  reseeded.seed = 2;
  Packer c(sample.view(), reseeded), later(sample.view(), options(), {1, 0, 0});
  const auto first = pairs_of(epoch_of(a));
  EXPECT_EQ(first, pairs_of(epoch_of(b)));
  EXPECT_NE(first, pairs_of(epoch_of(c)));
  EXPECT_EQ(pairs_of(epoch_of(a)), pairs_of(epoch_of(later)));
}

TEST(Packer, ResumesToTheBitAtEveryBatch) {
  const Sample sample(300);
  Packer whole(sample.view(), options());
  std::vector<PackedBatch> batches;
  std::vector<PackerPosition> before;
  for (int epoch = 0; epoch < 2; ++epoch) {
    for (;;) {
      const PackerPosition position = whole.position();
      PackedBatch batch;
      if (!whole.next(batch)) break;
      before.push_back(position);
      batches.push_back(batch);
    }
  }
  for (size_t i = 0; i < batches.size(); ++i) {
    Packer resumed(sample.view(), options(), before[i]);
    PackedBatch batch;
    // A position at the end of an epoch gives that end first.
    for (size_t j = i; j < std::min(i + 3, batches.size()); ++j) {
      if (!resumed.next(batch)) {
        ASSERT_TRUE(resumed.next(batch));
      }
      EXPECT_TRUE(same(batch, batches[j])) << i << " " << j;
    }
  }
}

TEST(Packer, RefusesWhatDoesNotFit) {
  const Sample sample(10, 30);
  expect_refused([&] { Packer(sample.view(), options(8)); }, {"packer: pair", "a batch of 8"});
  expect_refused([&] { Packer(TokenPairs{}, options()); }, {"found 0 pairs"});
  expect_refused(
      [&] {
        Packer packer(sample.view(), options(), {0, 5, 0});
        PackedBatch batch;
        packer.next(batch);
      },
      {"position 5 of 1 windows"});
}

}  // namespace
}  // namespace heddle::data
