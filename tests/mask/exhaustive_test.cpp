// Every builder at every T up to 24, against its plain definition written here a second time; and
// the tiles of each mask, at all tile shapes from 1×1 to 8×16, against counting the pairs.
#include <gtest/gtest.h>

#include <numeric>

#include "heddle/base/random.h"
#include "heddle/mask/builders.h"
#include "tests/mask/dense.h"

namespace heddle {
namespace {

constexpr int kMaxLength = 24;

using Rule = std::function<bool(int row, int key)>;

/// Checks one mask: its rule, its pair count, its row view, and its tiles at a few shapes that
/// change from call to call (all 128 shapes when `all_shapes`).
void check(const ColumnMask& mask, const Rule& rule, bool all_shapes) {
  static unsigned turn = 0;
  const test::Dense dense(mask.heads(), mask.query_length(), mask.key_length(),
                          [&](int, int row, int key) { return rule(row, key); });
  ASSERT_TRUE(test::same(mask, dense));
  ASSERT_EQ(mask.visible_pairs(), dense.pairs());
  for (int shape = 0; shape < 128; ++shape) {
    if (!all_shapes && (static_cast<unsigned>(shape) + turn) % 17 != 0) continue;
    ASSERT_TRUE(test::plan_is_exact(mask, dense, {shape % 8 + 1, shape / 8 + 1}));
  }
  ++turn;
  const int row = static_cast<int>(turn % static_cast<unsigned>(mask.query_length()));
  std::vector<int> seen(static_cast<size_t>(mask.key_length()), 0);
  int before = -1;
  for (const KeyRange range : mask.visible_ranges(0, row)) {
    ASSERT_GT(range.begin, before);
    ASSERT_LT(range.begin, range.end);
    for (int key = range.begin; key < range.end; ++key) seen[static_cast<size_t>(key)] = 1;
    before = range.end;
  }
  for (int key = 0; key < mask.key_length(); ++key) {
    ASSERT_EQ(seen[static_cast<size_t>(key)], rule(row, key)) << "row " << row << ", key " << key;
  }
}

/// Calls visit(lengths) for every way to split T into documents, or for 60 random ways when there
/// are too many.
void for_each_split(int length, const std::function<void(const masks::Lengths&)>& visit) {
  const auto split = [&](uint64_t cuts) {
    masks::Lengths lengths = {1};
    for (int i = 1; i < length; ++i) {
      if ((cuts >> (i - 1)) & 1) {
        lengths.push_back(1);
      } else {
        ++lengths.back();
      }
    }
    visit(lengths);
  };
  constexpr int kAllUpTo = 10;
  if (length <= kAllUpTo) {
    for (uint64_t cuts = 0; cuts < uint64_t{1} << (length - 1); ++cuts) split(cuts);
  } else {
    Random random(7, static_cast<uint64_t>(length));
    for (int i = 0; i < 60; ++i) split(random.below(uint64_t{1} << (length - 1)) & random.next());
  }
}

/// document[i] and begin[d], end[d] for split lengths.
struct Split {
  explicit Split(const masks::Lengths& lengths) {
    int begin = 0;
    for (const int64_t length : lengths) {
      for (int64_t i = 0; i < length; ++i) {
        document.push_back(static_cast<int>(begins.size()));
      }
      begins.push_back(begin);
      begin += static_cast<int>(length);
    }
  }
  int of(int token) const { return document[static_cast<size_t>(token)]; }
  int begin(int token) const { return begins[static_cast<size_t>(of(token))]; }
  int last() const { return static_cast<int>(begins.size()) - 1; }

  std::vector<int> document, begins;
};

class EveryLength : public ::testing::TestWithParam<int> {};

TEST_P(EveryLength, FullAndCausal) {
  const int T = GetParam();
  check(
      masks::full(T, T), [](int, int) { return true; }, true);
  check(
      masks::causal(T), [](int i, int j) { return j <= i; }, true);
  for (int keys = 1; keys <= kMaxLength; ++keys) {
    check(
        masks::full(T, keys), [](int, int) { return true; }, false);
    for (int offset = -3; offset <= keys; ++offset) {
      check(
          masks::causal_with_offset(T, keys, offset), [&](int i, int j) { return j <= i + offset; },
          keys - T == offset);
    }
  }
  for (int valid = 0; valid <= T; ++valid) {
    check(
        masks::valid_rows(T, 5, valid), [&](int i, int) { return i < valid; }, false);
  }
}

TEST_P(EveryLength, Windows) {
  const int T = GetParam();
  for (int window = 1; window <= T + 1; ++window) {
    check(
        masks::sliding_window(T, window), [&](int i, int j) { return j <= i && i - j < window; },
        window % 5 == 3);
    for (int right = 0; right < window; right += 2) {
      check(
          masks::local_window(T, window - 1, right),
          [&](int i, int j) { return i - j < window && j - i <= right; }, false);
      check(
          masks::local_window(T, right, window - 1),
          [&](int i, int j) { return i - j <= right && j - i < window; }, false);
    }
  }
}

TEST_P(EveryLength, GlobalAndPrefix) {
  const int T = GetParam();
  for (int first = 0; first <= T; ++first) {
    check(
        masks::prefix_lm_causal(T, first), [&](int i, int j) { return j < first || j <= i; },
        first == T / 2);
    for (int window = 1; window <= T; window += 3) {
      check(
          masks::image_prefix_window(T, first, window),
          [&](int i, int j) { return j < first || (j <= i && i - j < window); }, false);
      for (int right = 0; right < T; right += 4) {
        check(
            masks::global_sliding(T, first, window - 1, right),
            [&](int i, int j) {
              return i < first || j < first || (i - j < window && j - i <= right);
            },
            first == 2 && window == 4 && right == 4);
      }
    }
  }
}

TEST_P(EveryLength, Documents) {
  const int T = GetParam();
  int turn = 0;
  for_each_split(T, [&](const masks::Lengths& lengths) {
    const Split split(lengths);
    const bool all = ++turn == 3;
    check(
        masks::document(lengths, T), [&](int i, int j) { return split.of(i) == split.of(j); }, all);
    check(
        masks::causal_document(lengths, T),
        [&](int i, int j) { return j <= i && split.of(i) == split.of(j); }, all);
    check(
        masks::causal_blockwise(lengths, T),
        [&](int i, int j) {
          return j <= i && (split.of(i) == split.of(j) || split.of(i) == split.last());
        },
        all);
    check(
        masks::hash_buckets(lengths, true),
        [&](int i, int j) { return j <= i && split.of(i) == split.of(j); }, false);
    check(
        masks::hash_buckets(lengths, false),
        [&](int i, int j) { return split.of(i) == split.of(j); }, false);

    std::vector<masks::PrefixDocument> prefixed;
    for (const int64_t length : lengths)
      prefixed.push_back({length, (length + turn) % (length + 1)});
    check(
        masks::prefix_lm_document(prefixed, T),
        [&](int i, int j) {
          const auto prefix = prefixed[static_cast<size_t>(split.of(j))].prefix;
          return split.of(i) == split.of(j) && (j <= i || j - split.begin(j) < prefix);
        },
        all);

    // Every second document is dropped.
    std::vector<masks::TokenRange> dropped;
    for (size_t d = 0; d < lengths.size(); d += 2) {
      dropped.push_back({split.begins[d], split.begins[d] + lengths[d]});
    }
    check(
        masks::qk_sparse(T, dropped),
        [&](int i, int j) {
          return j <= i && !(split.of(j) % 2 == 0 && split.of(i) == split.of(j));
        },
        all);
  });
}

TEST_P(EveryLength, SharedQuestions) {
  const int T = GetParam();
  int turn = 0;
  for_each_split(T, [&](const masks::Lengths& lengths) {
    // Documents in groups of `size`: one question and its answers.
    const size_t size = 2 + static_cast<size_t>(++turn) % 3;
    std::vector<masks::QuestionGroup> groups;
    for (size_t d = 0; d < lengths.size(); ++d) {
      if (d % size == 0) {
        groups.push_back({lengths[d], {}});
      } else {
        groups.back().answers.push_back(lengths[d]);
      }
    }
    const Split split(lengths);
    check(
        masks::shared_question(groups, T),
        [&](int i, int j) {
          const size_t a = static_cast<size_t>(split.of(i)), b = static_cast<size_t>(split.of(j));
          return j <= i && a / size == b / size && (a == b || b % size == 0);
        },
        turn == 5);
  });
}

TEST_P(EveryLength, CrossDocuments) {
  const int T = GetParam();
  int turn = 0;
  for_each_split(T, [&](const masks::Lengths& query_lengths) {
    masks::Lengths queries, keys;
    for (const int64_t length : query_lengths) {
      queries.push_back(length);
      keys.push_back((length * 2 + ++turn) % 4);  // 0 … 3 keys a document
    }
    queries.push_back(0);  // a document without queries
    keys.push_back(2);
    std::vector<int> key_document;
    for (size_t d = 0; d < keys.size(); ++d) {
      key_document.insert(key_document.end(), static_cast<size_t>(keys[d]), static_cast<int>(d));
    }
    const Split split(query_lengths);
    check(
        masks::cross_document(queries, keys),
        [&](int i, int j) { return split.of(i) == key_document[static_cast<size_t>(j)]; },
        turn < 30);
  });
}

TEST_P(EveryLength, PrefixTrees) {
  const int T = GetParam();
  int turn = 0;
  for_each_split(T, [&](const masks::Lengths& lengths) {
    // A random depth-first tree: each node hangs under the one before it or one of its ancestors.
    Random random(11, static_cast<uint64_t>(T) * 1000 + static_cast<uint64_t>(++turn));
    std::vector<masks::TreeNode> nodes;
    for (size_t d = 0; d < lengths.size(); ++d) {
      int64_t parent = static_cast<int64_t>(d) - 1;
      while (parent >= 0 && random.below(3) == 0)
        parent = nodes[static_cast<size_t>(parent)].parent;
      nodes.push_back({parent, lengths[d]});
    }
    const Split split(lengths);
    const auto is_ancestor_or_self = [&](int a, int node) {
      int64_t at = node;
      while (at > a) at = nodes[static_cast<size_t>(at)].parent;
      return at == a;
    };
    check(
        masks::prefix_tree(nodes, T),
        [&](int i, int j) { return j <= i && is_ancestor_or_self(split.of(j), split.of(i)); },
        turn == 7);
    // Position = number of tokens seen, less itself.
    const ColumnMask mask = masks::prefix_tree(nodes);
    const std::vector<int32_t> positions = masks::tree_positions(nodes);
    const test::Dense dense(mask);
    for (int i = 0; i < T; ++i) {
      ASSERT_EQ(positions[static_cast<size_t>(i)], dense.count(0, i, i + 1, 0, T) - 1);
    }
  });
}

TEST_P(EveryLength, RandomEviction) {
  const int T = GetParam();
  for (int budget = 1; budget <= T + 1; ++budget) {
    const ColumnMask mask = masks::random_eviction(T, budget, 3, 42);
    const test::Dense dense(mask);
    for (int head = 0; head < 3; ++head) {
      for (int i = 0; i < T; ++i) {
        // Exactly the budget is held, the newest token among it, and nothing comes back.
        ASSERT_EQ(dense.count(head, i, i + 1, 0, T), std::min(i + 1, budget));
        ASSERT_TRUE(dense.at(head, i, i));
        for (int j = 0; j < i; ++j) {
          ASSERT_LE(dense.at(head, i, j), dense.at(head, i - 1, j));
        }
      }
    }
    ASSERT_TRUE(test::plan_is_exact(mask, dense, {budget % 8 + 1, budget % 16 + 1}));
  }
}

INSTANTIATE_TEST_SUITE_P(Mask, EveryLength, ::testing::Range(1, kMaxLength + 1));

}  // namespace
}  // namespace heddle
