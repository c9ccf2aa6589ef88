// Dense pictures of masks: the plain way, to check the sparse one against.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "heddle/mask/mask.h"
#include "heddle/mask/plan.h"

namespace heddle::test {

/// allowed[head][row][key], with prefix sums to count the pairs of any rectangle.
class Dense {
 public:
  using Rule = std::function<bool(int head, int row, int key)>;

  Dense(int head_count, int row_count, int key_count, const Rule& rule)
      : heads(head_count),
        rows(row_count),
        keys(key_count),
        sums_(static_cast<size_t>(heads) * (rows + 1) * (keys + 1), 0) {
    for (int head = 0; head < heads; ++head) {
      for (int row = 0; row < rows; ++row) {
        for (int key = 0; key < keys; ++key) {
          sum(head, row + 1, key + 1) = sum(head, row, key + 1) + sum(head, row + 1, key) -
                                        sum(head, row, key) + (rule(head, row, key) ? 1 : 0);
        }
      }
    }
  }

  explicit Dense(const ColumnMask& mask)
      : Dense(mask.heads(), mask.query_length(), mask.key_length(),
              [view = mask.view()](int head, int row, int key) {
                return allowed(view, head, row, key);
              }) {}

  int count(int head, int row_begin, int row_end, int key_begin, int key_end) const {
    return sum(head, row_end, key_end) - sum(head, row_begin, key_end) -
           sum(head, row_end, key_begin) + sum(head, row_begin, key_begin);
  }
  bool at(int head, int row, int key) const { return count(head, row, row + 1, key, key + 1) == 1; }
  int64_t pairs() const {
    int64_t total = 0;
    for (int head = 0; head < heads; ++head) total += count(head, 0, rows, 0, keys);
    return total;
  }
  TileClass tile_class(int head, int row_begin, int row_end, int key_begin, int key_end) const {
    const int pairs = count(head, row_begin, row_end, key_begin, key_end);
    if (pairs == 0) return TileClass::skip;
    return pairs == (row_end - row_begin) * (key_end - key_begin) ? TileClass::full
                                                                  : TileClass::partial;
  }

  int heads, rows, keys;

 private:
  int& sum(int head, int row, int key) {
    return sums_[(static_cast<size_t>(head) * (rows + 1) + row) * (keys + 1) + key];
  }
  int sum(int head, int row, int key) const {
    return const_cast<Dense*>(this)->sum(head, row, key);
  }

  std::vector<int> sums_;
};

/// Fails with a small drawing when the two differ.
inline ::testing::AssertionResult same(const ColumnMask& mask, const Dense& expected) {
  if (mask.heads() != expected.heads || mask.query_length() != expected.rows ||
      mask.key_length() != expected.keys) {
    return ::testing::AssertionFailure()
           << "found " << mask.heads() << " × " << mask.query_length() << " × " << mask.key_length()
           << "; expected " << expected.heads << " × " << expected.rows << " × " << expected.keys;
  }
  const MaskView view = mask.view();
  for (int head = 0; head < expected.heads; ++head) {
    for (int row = 0; row < expected.rows; ++row) {
      for (int key = 0; key < expected.keys; ++key) {
        if (allowed(view, head, row, key) != expected.at(head, row, key)) {
          return ::testing::AssertionFailure()
                 << "head " << head << ", row " << row << ", key " << key << ": expected "
                 << expected.at(head, row, key);
        }
      }
    }
  }
  return ::testing::AssertionSuccess();
}

/// Checks all that a plan says of a mask, tile by tile, and `classify` beside it.
inline ::testing::AssertionResult plan_is_exact(const ColumnMask& mask, const Dense& dense,
                                                TileShape tile) {
  const MaskPlan plan(mask, tile);
  const int query_tiles = (dense.rows + tile.rows - 1) / tile.rows;
  const int key_tiles = (dense.keys + tile.keys - 1) / tile.keys;
  const auto fail = [&](const std::string& what, int head, int m, int n) {
    return ::testing::AssertionFailure() << what << ": tile " << tile.rows << "x" << tile.keys
                                         << ", head " << head << ", at " << m << ", " << n;
  };
  if (plan.query_tiles() != query_tiles || plan.key_tiles() != key_tiles) {
    return fail("tile counts", 0, plan.query_tiles(), plan.key_tiles());
  }
  // Class of every tile as each of the two views tells it; unset means skipped.
  const auto index = [&](int head, int m, int n) {
    return (static_cast<size_t>(head) * query_tiles + m) * key_tiles + n;
  };
  const size_t tiles = index(dense.heads - 1, query_tiles - 1, key_tiles - 1) + 1;
  std::vector<TileClass> by_query(tiles, TileClass::skip), by_key(tiles, TileClass::skip);
  for (int head = 0; head < dense.heads; ++head) {
    for (int m = 0; m < query_tiles; ++m) {
      int live = 0, before = key_tiles + 1;
      bool before_full = false;
      for (const TileRun run : plan.runs_of_query_tile(head, m)) {
        const int end = run.first + static_cast<int>(run.count);
        if (run.count == 0 || end > before || (end == before && run.full == before_full)) {
          return fail("query runs not maximal or not falling", head, m, run.first);
        }
        before = run.first;
        before_full = run.full;
        live += static_cast<int>(run.count);
        for (int n = run.first; n < end; ++n) {
          by_query[index(head, m, n)] = run.full ? TileClass::full : TileClass::partial;
        }
      }
      if (live != plan.live_tiles_of_query_tile(head, m)) return fail("live", head, m, live);
    }
    for (int n = 0; n < key_tiles; ++n) {
      int live = 0, before = -1;
      bool before_full = false;
      for (const TileRun run : plan.runs_of_key_tile(head, n)) {
        if (run.count == 0 || run.first < before ||
            (run.first == before && run.full == before_full)) {
          return fail("key runs not maximal or not rising", head, run.first, n);
        }
        before = run.first + static_cast<int>(run.count);
        before_full = run.full;
        live += static_cast<int>(run.count);
        for (int m = run.first; m < before; ++m) {
          by_key[index(head, m, n)] = run.full ? TileClass::full : TileClass::partial;
        }
      }
      if (live != plan.live_tiles_of_key_tile(head, n)) return fail("live", head, live, n);
    }
  }
  TileCounts counts;
  for (int head = 0; head < dense.heads; ++head) {
    for (int m = 0; m < query_tiles; ++m) {
      for (int n = 0; n < key_tiles; ++n) {
        const int r0 = m * tile.rows, r1 = std::min(r0 + tile.rows, dense.rows);
        const int c0 = n * tile.keys, c1 = std::min(c0 + tile.keys, dense.keys);
        const TileClass expected = dense.tile_class(head, r0, r1, c0, c1);
        if (classify(mask.view(), head, r0, r1, c0, c1) != expected) {
          return fail("classify", head, m, n);
        }
        if (by_query[index(head, m, n)] != expected) return fail("query runs", head, m, n);
        if (by_key[index(head, m, n)] != expected) return fail("key runs", head, m, n);
        (expected == TileClass::skip      ? counts.skipped
         : expected == TileClass::partial ? counts.partial
                                          : counts.full)++;
      }
    }
  }
  if (counts.skipped != plan.counts().skipped || counts.partial != plan.counts().partial ||
      counts.full != plan.counts().full) {
    return fail("counts", 0, static_cast<int>(counts.partial), static_cast<int>(counts.full));
  }
  return ::testing::AssertionSuccess();
}

}  // namespace heddle::test
