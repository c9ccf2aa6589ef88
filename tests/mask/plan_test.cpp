// Plans of random interval masks, of tiles covered only by a union, and of a million tokens.
#include <gtest/gtest.h>

#include "heddle/mask/builders.h"
#include "tests/mask/dense.h"
#include "tests/mask/random_masks.h"

namespace heddle {
namespace {

TEST(Plan, RandomMasksSmall) {
  Random random(1);
  for (int i = 0; i < 1500; ++i) {
    const ColumnMask mask = test::random_mask(
        random, {random.between(1, 40), random.between(1, 40), random.between(1, 3),
                 random.below(2) == 1, static_cast<int>(random.below(5))});
    const test::Dense dense(mask);
    const TileShape tile{static_cast<int32_t>(random.between(1, 9)),
                         static_cast<int32_t>(random.between(1, 17))};
    ASSERT_TRUE(test::plan_is_exact(mask, dense, tile)) << "mask " << i;
    ASSERT_EQ(mask.visible_pairs(), dense.pairs());
  }
}

TEST(Plan, RandomMasksTo2000) {
  Random random(2);
  for (int i = 0; i < 12; ++i) {
    const ColumnMask mask =
        test::random_mask(random, {random.between(300, 2000), random.between(300, 2000), 1,
                                   random.below(2) == 1, static_cast<int>(random.below(5))});
    const test::Dense dense(mask);
    ASSERT_EQ(mask.visible_pairs(), dense.pairs());
    for (const TileShape tile : {TileShape{64, 128}, {128, 128}, {1, 100}, {77, 33}, {4096, 1}}) {
      ASSERT_TRUE(test::plan_is_exact(mask, dense, tile)) << "mask " << i;
    }
  }
}

TEST(Plan, UnionOfTheTwoIntervalsIsSkipped) {
  // Rows 0 … 3 are masked by (uts, ute), rows 4 … 7 by (lts, lte): neither alone covers the tile.
  const ColumnMask mask(
      {.query_length = 8, .key_length = 4, .lts = {4, 4, 4, 4}, .ute = {4, 4, 4, 4}});
  EXPECT_EQ(MaskPlan(mask, {8, 4}).counts().skipped, 1);
  EXPECT_EQ(classify(mask.view(), 0, 0, 8, 0, 4), TileClass::skip);
}

TEST(Plan, DifferentIntervalsOfDifferentColumnsAreSkipped) {
  // Each column is hidden in whole, but minima and maxima of the bounds alone do not show it.
  const ColumnMask mask({.query_length = 8,
                         .key_length = 2,
                         .lts = {0, 8},
                         .lte = {8, 8},
                         .uts = {0, 0},
                         .ute = {0, 8}});
  EXPECT_EQ(MaskPlan(mask, {8, 2}).counts().skipped, 1);
}

TEST(Plan, OverlappingIntervalsCountOnce) {
  const ColumnMask mask(
      {.query_length = 10, .key_length = 1, .lts = {2}, .lte = {6}, .uts = {4}, .ute = {8}});
  EXPECT_EQ(mask.visible_pairs(), 4);
}

TEST(Plan, CausalOfAMillionTokensFitsIn40Megabytes) {
  constexpr int64_t kLength = 1 << 20;
  const ColumnMask mask = masks::causal(kLength);
  const MaskPlan plan(mask, {128, 128});
  EXPECT_EQ(plan.counts().partial, 8192);
  EXPECT_EQ(plan.counts().full, 8192 * 8191 / 2);
  EXPECT_LE(mask.bytes() + plan.bytes(), 40'000'000);
}

/// A chain of shared tokens with a dead branch at every step: query tile m sees m separate pieces,
/// so lists written out in full would grow with the square of the length.
std::vector<masks::TreeNode> chain_with_dead_branches(int64_t steps, int64_t tokens) {
  std::vector<masks::TreeNode> nodes;
  int64_t parent = -1;
  for (int64_t step = 0; step < steps; ++step) {
    nodes.push_back({parent, tokens});
    parent = static_cast<int64_t>(nodes.size()) - 1;
    nodes.push_back({parent, tokens});
  }
  return nodes;
}

TEST(Plan, MemoryIsLinearEvenForChainsOfDeadBranches) {
  const ColumnMask small = masks::prefix_tree(chain_with_dead_branches(128, 128));
  const ColumnMask large = masks::prefix_tree(chain_with_dead_branches(1024, 128));
  const MaskPlan small_plan(small, {128, 128}), large_plan(large, {128, 128});
  EXPECT_EQ(large_plan.runs_of_query_tile(0, 2047).size(),
            1025);  // 1,024 shared pieces and the diagonal
  EXPECT_LE(large_plan.bytes(), 9 * small_plan.bytes());
  EXPECT_LE(large_plan.bytes(), large.key_length());
}

TEST(Plan, SharedTailsReadTheSameAsOwnOnes) {
  for (const int64_t tokens : {3, 4, 5}) {
    const ColumnMask mask = masks::prefix_tree(chain_with_dead_branches(20, tokens));
    const test::Dense dense(mask);
    for (const TileShape tile : {TileShape{4, 4}, {2, 3}, {8, 1}}) {
      ASSERT_TRUE(test::plan_is_exact(mask, dense, tile));
    }
  }
}

TEST(Plan, RefusesEmptyTiles) {
  EXPECT_THROW(MaskPlan(masks::causal(4), {0, 4}), Error);
  EXPECT_THROW(MaskPlan(masks::causal(4), {4, -1}), Error);
  EXPECT_THROW(MaskPlan(masks::causal(4), {4, 4}).runs_of_key_tile(0, 1), Error);
  EXPECT_THROW(MaskPlan(masks::causal(4), {4, 4}).runs_of_query_tile(1, 0), Error);
}

}  // namespace
}  // namespace heddle
