#include "heddle/data/row_packer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "heddle/base/random.h"
#include "heddle/mask/builders.h"
#include "tests/io/files.h"

namespace heddle::data {
namespace {

using testing::expect_refused;

/// Examples of these lengths; token values tell example and place, odd places are learned.
struct Examples {
  explicit Examples(const std::vector<int64_t>& lengths) {
    offsets.push_back(0);
    for (size_t i = 0; i < lengths.size(); ++i) {
      for (int64_t j = 0; j < lengths[i]; ++j) {
        tokens.push_back(stored_token(id(i, j), j % 2 == 1));
      }
      offsets.push_back(tokens.size());
    }
  }
  static int32_t id(uint64_t example, int64_t place) {
    return static_cast<int32_t>(example * 1000 + static_cast<uint64_t>(place));
  }
  TokenExamples view() const { return {tokens, offsets}; }

  std::vector<int32_t> tokens;
  std::vector<uint64_t> offsets;
};

/// Lengths from 1 on; most are short, some are long, as answers are.
std::vector<int64_t> document_lengths(int64_t count, int64_t longest, uint64_t seed) {
  Random random(seed);
  std::vector<int64_t> lengths;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t most = random.below(4) == 0 ? longest : std::max<int64_t>(1, longest / 6);
    lengths.push_back(random.between(1, most));
  }
  return lengths;
}

std::vector<PackedRow> rows_of(RowPacker& packer) {
  std::vector<PackedRow> rows;
  for (PackedRow row; packer.next(row);) rows.push_back(row);
  return rows;
}

bool same_row(const PackedRow& a, const PackedRow& b) {
  return a.tokens == b.tokens && a.labels == b.labels && a.positions == b.positions &&
         a.offsets == b.offsets && a.examples == b.examples && a.learned == b.learned;
}

void expect_row(const PackedRow& row, const std::vector<int64_t>& lengths, int64_t limit) {
  ASSERT_EQ(row.offsets.size(), row.examples.size() + 1);
  ASSERT_EQ(row.offsets.front(), 0);
  ASSERT_EQ(static_cast<size_t>(row.offsets.back()), row.tokens.size());
  ASSERT_LE(std::ssize(row.tokens), limit);
  ASSERT_GE(row.documents(), 1);
  int64_t learned = 0;
  for (size_t d = 0; d < row.examples.size(); ++d) {
    const int64_t length = lengths[row.examples[d]];
    ASSERT_EQ(row.offsets[d + 1] - row.offsets[d], length);
    for (int64_t j = 0; j < length; ++j) {
      const auto at = static_cast<size_t>(row.offsets[d] + j);
      ASSERT_EQ(row.tokens[at], Examples::id(row.examples[d], j));
      ASSERT_EQ(row.positions[at], j);
      // The label is the next token of the same document, where that is learned.
      const bool learns = j + 1 < length && (j + 1) % 2 == 1;
      ASSERT_EQ(row.labels[at], learns ? Examples::id(row.examples[d], j + 1) : kNoLabel);
      learned += learns ? 1 : 0;
    }
  }
  EXPECT_EQ(row.learned, learned);
}

TEST(RowPacker, EveryExampleOnceAnEpoch) {
  for (uint64_t seed = 1; seed <= 12; ++seed) {
    const int64_t limit = 64, count = 1 + static_cast<int64_t>(seed) * 37;
    const auto lengths = document_lengths(count, limit, seed);
    const Examples sample(lengths);
    RowPacker packer(sample.view(), {.packing_length = limit, .window = 100, .seed = seed});
    std::vector<std::vector<uint64_t>> orders;
    for (uint64_t epoch = 0; epoch < 2; ++epoch) {
      const auto rows = rows_of(packer);
      EXPECT_EQ(rows.size(), packer.rows_in_epoch(epoch));
      std::vector<uint64_t> seen;
      for (const PackedRow& row : rows) {
        expect_row(row, lengths, limit);
        seen.insert(seen.end(), row.examples.begin(), row.examples.end());
      }
      orders.push_back(seen);
      std::sort(seen.begin(), seen.end());
      std::vector<uint64_t> all(static_cast<size_t>(count));
      std::iota(all.begin(), all.end(), 0);
      EXPECT_EQ(seen, all);
      EXPECT_EQ(packer.position(), (PackerPosition{epoch + 1, 0, 0}));
    }
    EXPECT_NE(orders[0], orders[1]);
  }
}

TEST(RowPacker, RowsAreNearlyFull) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    const int64_t limit = 4096;
    const auto lengths = document_lengths(4000, seed % 2 == 0 ? limit : 900, seed);
    const Examples sample(lengths);
    RowPacker packer(sample.view(), {.packing_length = limit, .seed = seed});
    const int64_t tokens = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
    const int64_t fewest = (tokens + limit - 1) / limit;
    const auto rows = static_cast<int64_t>(packer.rows_in_epoch(0));
    EXPECT_GE(rows, fewest);
    EXPECT_LE(static_cast<double>(rows), 1.01 * static_cast<double>(fewest) + 1) << seed;
  }
}

TEST(RowPacker, BestFit) {
  // 6 and 4 fill a row, 5 and 5 another, 3 3 3 a third; first come is not best here.
  const Examples sample({3, 5, 4, 3, 6, 5, 3});
  RowPacker packer(sample.view(), {.packing_length = 10, .shuffle = false});
  const auto rows = rows_of(packer);
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_EQ(rows[0].examples, (std::vector<uint64_t>{0, 3, 6}));
  EXPECT_EQ(rows[1].examples, (std::vector<uint64_t>{1, 5}));
  EXPECT_EQ(rows[2].examples, (std::vector<uint64_t>{2, 4}));
  EXPECT_EQ(rows[0].lengths(), (std::vector<int64_t>{3, 3, 3}));
  EXPECT_EQ(masks::causal_document(rows[0].lengths()).visible_pairs(), 18);
}

TEST(RowPacker, ResumesToTheBitFromEveryPosition) {
  const auto lengths = document_lengths(150, 40, 5);
  const Examples sample(lengths);
  const RowPackerOptions options{.packing_length = 64, .window = 40, .seed = 9};
  std::vector<PackedRow> rows;
  std::vector<PackerPosition> positions;
  RowPacker whole(sample.view(), options);
  for (int epoch = 0; epoch < 2; ++epoch) {
    positions.push_back(whole.position());
    for (PackedRow row; whole.next(row); positions.push_back(whole.position())) rows.push_back(row);
    positions.pop_back();  // the end of an epoch is the beginning of the next
  }
  ASSERT_EQ(rows.size(), positions.size());
  for (size_t start = 0; start < positions.size(); ++start) {
    RowPacker resumed(sample.view(), options, positions[start]);
    size_t at = start;
    for (PackedRow row; at < rows.size();) {
      if (!resumed.next(row)) continue;
      ASSERT_TRUE(same_row(row, rows[at])) << start << " " << at;
      ++at;
    }
  }
}

TEST(RowPacker, ResumesAtTheEndOfAnEpoch) {
  const Examples sample(document_lengths(20, 40, 5));
  RowPacker packer(sample.view(), {.packing_length = 64});
  const uint64_t rows = packer.rows_in_epoch(0);
  RowPacker resumed(sample.view(), {.packing_length = 64}, {0, 0, rows});
  PackedRow row;
  EXPECT_FALSE(resumed.next(row));
  EXPECT_TRUE(resumed.next(row));
  EXPECT_EQ(resumed.position(), (PackerPosition{1, 0, 1}));
}

TEST(RowPacker, ProgressRises) {
  const Examples sample(document_lengths(100, 40, 4));
  RowPacker packer(sample.view(), {.packing_length = 64, .window = 30});
  double before = 0;
  EXPECT_EQ(packer.progress(), 0);
  for (PackedRow row; packer.next(row);) {
    EXPECT_GE(packer.progress(), before);
    EXPECT_LE(packer.progress(), 1);
    before = packer.progress();
  }
  EXPECT_GT(before, 0.9);
  EXPECT_EQ(packer.progress(), 0);
}

TEST(RowPacker, SeedAndEpochDecideTheOrder) {
  const Examples sample(document_lengths(300, 40, 3));
  const auto first = [&](uint64_t seed, uint64_t epoch) {
    RowPacker packer(sample.view(), {.packing_length = 64, .window = 64, .seed = seed},
                     {epoch, 0, 0});
    PackedRow row;
    packer.next(row);
    return row.examples;
  };
  EXPECT_EQ(first(1, 0), first(1, 0));
  EXPECT_NE(first(1, 0), first(2, 0));
  EXPECT_NE(first(1, 0), first(1, 1));
}

TEST(RowPacker, Refuses) {
  const Examples sample({3, 70});
  expect_refused([&] { RowPacker(sample.view(), {.packing_length = 64}); },
                 {"example 1", "70", "64", "packing_length"});
  expect_refused([&] { RowPacker(sample.view(), {.packing_length = 131'073}); }, {"131072"});
  expect_refused([&] { RowPacker({}, {}); }, {"0 examples"});
  RowPacker far(sample.view(), {}, {0, 5, 0});
  PackedRow row;
  expect_refused([&] { far.next(row); }, {"position 5"});
  const Examples empty({3, 0});
  expect_refused([&] { RowPacker(empty.view(), {}); }, {"example 1", "0 tokens"});
}

}  // namespace
}  // namespace heddle::data
