// TokenPool and DecoderState against plain twins, over random sequences of what a scheduler does.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "heddle/base/error.h"
#include "heddle/base/random.h"
#include "heddle/model/decoder_state.h"

namespace heddle::model {
namespace {

TEST(TokenPool, GivesRangesThatNeverOverlap) {
  Random random(1);
  constexpr int64_t kTokens = 200;
  TokenPool pool(kTokens);
  std::vector<bool> used(kTokens, false);  // the twin: one flag a token
  std::vector<TokenPool::Range> held;
  for (int round = 0; round < 20000; ++round) {
    if (!held.empty() && random.below(2) == 0) {
      const auto i = static_cast<size_t>(random.below(held.size()));
      std::fill_n(used.begin() + held[i].begin, held[i].length, false);
      pool.give_back(held[i]);
      held.erase(held.begin() + static_cast<int64_t>(i));
    } else {
      const int64_t length = random.between(1, 40);
      const auto range = pool.take(length);
      int64_t best = -1, shortest = kTokens + 1;  // best fit, by looking at every token
      for (int64_t end = 0, gap = 0; end <= kTokens; ++end) {
        if (end < kTokens && !used[static_cast<size_t>(end)]) {
          ++gap;
          continue;
        }
        if (gap >= length && gap < shortest) best = end - gap, shortest = gap;
        gap = 0;
      }
      ASSERT_EQ(range.has_value(), best >= 0);
      if (range) {
        ASSERT_EQ(range->begin, best);
        ASSERT_EQ(range->length, length);
        std::fill_n(used.begin() + range->begin, length, true);
        held.push_back(*range);
      }
    }
    ASSERT_EQ(pool.free_tokens(), std::ranges::count(used, false));
  }
  for (const auto& range : held) pool.give_back(range);
  EXPECT_EQ(pool.longest_gap(), kTokens);
}

TEST(TokenPool, EmptyRangesTakeNoRoom) {
  TokenPool pool(3);
  const auto whole = pool.take(3);
  EXPECT_TRUE(pool.take(0).has_value());
  EXPECT_FALSE(pool.take(1).has_value());
  pool.give_back({});
  pool.give_back(*whole);
  EXPECT_EQ(pool.longest_gap(), 3);
  EXPECT_THROW(pool.take(-1), Error);
}

TransformerConfig config_of(DecoderKind kind) {
  TransformerConfig config;
  config.width = 4;
  config.source_vocabulary = config.target_vocabulary = 8;
  config.encoder = config.decoder = {.layers = 2, .heads = 2, .key_value_heads = 0, .ffn_width = 4};
  config.decoder_kind = kind;
  return config;
}

/// What a slot should hold: the source's length, and a number a step.
struct Twin {
  int64_t source, limit;
  std::vector<float> past;
};

/// Writes `value` where a step of the slot is remembered, in every layer.
void step(DecoderState& state, int slot, float value) {
  const DecoderState::Step at = state.advance(slot);
  const StatePools& pools = state.pools();
  if (pools.cells.defined()) {
    for (int64_t layer = 0; layer < pools.cells.dim(0); ++layer) {
      float* cell = pools.cells.data<float>() + layer * pools.cells.stride(0) + at.at * 4;
      std::fill_n(cell, 4, value + static_cast<float>(layer));
    }
    return;
  }
  for (size_t layer = 0; layer < pools.self_keys.size(); ++layer) {
    std::fill_n(pools.self_keys[layer].data<float>() + at.at * 4, 4, value);
    std::fill_n(pools.self_values[layer].data<float>() + at.at * 4, 4, -value);
  }
}

/// The slot remembers what its twin does.
void expect_holds(DecoderState& state, int slot, const Twin& twin) {
  ASSERT_TRUE(state.is_live(slot));
  ASSERT_EQ(state.length(slot), static_cast<int64_t>(twin.past.size()));
  ASSERT_EQ(state.source_length(slot), twin.source);
  ASSERT_EQ(state.target_limit(slot), twin.limit);
  const StatePools& pools = state.pools();
  const DecoderState::Place place = state.place(slot);
  if (pools.cells.defined()) {
    for (int64_t layer = 0; layer < pools.cells.dim(0); ++layer) {
      const float* cell =
          pools.cells.data<float>() + layer * pools.cells.stride(0) + int64_t{place.cell} * 4;
      const float last = twin.past.empty() ? 0.0f : twin.past.back() + static_cast<float>(layer);
      for (int i = 0; i < 4; ++i) ASSERT_EQ(cell[i], last);
    }
    return;
  }
  for (size_t layer = 0; layer < pools.self_keys.size(); ++layer) {
    for (size_t t = 0; t < twin.past.size(); ++t) {
      const int64_t row = (place.past.begin + static_cast<int64_t>(t)) * 4;
      ASSERT_EQ(pools.self_keys[layer].data<float>()[row], twin.past[t]);
      ASSERT_EQ(pools.self_values[layer].data<float>()[row + 3], -twin.past[t]);
    }
  }
}

class RandomState : public testing::TestWithParam<DecoderKind> {
 protected:
  RandomState()
      : state_(config_of(GetParam()), {.rows = 12, .source_tokens = 60, .target_tokens = 70}) {}

  int any_slot() {
    auto at = twins_.begin();
    std::advance(at, static_cast<int64_t>(random_.below(twins_.size())));
    return at->first;
  }

  void admit() {
    const int64_t source = random_.between(1, 20), limit = random_.between(1, 15);
    if (const auto slot = state_.admit(source, limit)) {
      ASSERT_EQ(twins_.count(*slot), 0u);
      twins_[*slot] = {source, limit, {}};
      families_[*slot] = ++family_;
    } else {
      ++refused_;
    }
  }

  void fork() {
    const int from = any_slot();
    if (const auto slot = state_.fork(from)) {
      ASSERT_EQ(twins_.count(*slot), 0u);
      twins_[*slot] = twins_[from];
      families_[*slot] = families_[from];
    }
  }

  void take_step() {
    const int slot = any_slot();
    Twin& twin = twins_[slot];
    if (static_cast<int64_t>(twin.past.size()) == twin.limit) {
      EXPECT_THROW(state_.advance(slot), Error);
      return;
    }
    twin.past.push_back(static_cast<float>(++value_));
    step(state_, slot, twin.past.back());
  }

  void copy() {
    const int from = any_slot(), to = any_slot();
    if (static_cast<int64_t>(twins_[from].past.size()) > twins_[to].limit) return;
    state_.copy_state(from, to);
    twins_[to].past = twins_[from].past;
    twins_[to].source = twins_[from].source;
    families_[to] = families_[from];
  }

  void reorder() {
    const int one = any_slot();
    std::vector<int> slots, parents;
    for (const auto& [slot, twin] : twins_) {
      if (families_[slot] == families_[one] && twin.limit == twins_[one].limit) {
        slots.push_back(slot);
      }
    }
    const std::vector<int> family = slots;
    while (slots.size() > 1 && random_.below(3) == 0) slots.pop_back();  // parents may lie outside
    for (size_t i = 0; i < slots.size(); ++i) {
      parents.push_back(family[static_cast<size_t>(random_.below(family.size()))]);
    }
    state_.reorder(slots, parents);
    const std::map<int, Twin> before = twins_;
    for (size_t i = 0; i < slots.size(); ++i) twins_[slots[i]].past = before.at(parents[i]).past;
  }

  void release() {
    const int slot = any_slot();
    state_.release(slot);
    twins_.erase(slot);
    families_.erase(slot);
    EXPECT_THROW(state_.release(slot), Error);
  }

  Random random_{2};
  DecoderState state_;
  std::map<int, Twin> twins_;
  std::map<int, int> families_;  // slots of one source
  int family_ = 0, value_ = 0, refused_ = 0;
};

TEST_P(RandomState, HoldsWhatItsTwinHolds) {
  for (int round = 0; round < 20000; ++round) {
    const auto what = random_.below(16);
    if (twins_.empty() || what < 3) {
      admit();
    } else if (what < 5) {
      fork();
    } else if (what < 10) {
      take_step();
    } else if (what < 11) {
      copy();
    } else if (what < 14) {
      reorder();
    } else {
      release();
    }
    ASSERT_EQ(state_.live(), static_cast<int>(twins_.size()));
    ASSERT_EQ(state_.free_rows(), 12 - state_.live());
    std::map<int, int64_t> sources;  // shared sources count once
    for (const auto& [slot, twin] : twins_) sources[families_[slot]] = twin.source;
    int64_t held = 0;
    for (const auto& [family, length] : sources) held += length;
    ASSERT_EQ(state_.free_source_tokens(), 60 - held);
    for (const auto& [slot, twin] : twins_) expect_holds(state_, slot, twin);
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
  EXPECT_GT(refused_, 10);
  state_.release_all();
  EXPECT_EQ(state_.live(), 0);
  EXPECT_EQ(state_.free_source_tokens(), 60);
  EXPECT_TRUE(state_.admit(60, 15).has_value());
}

INSTANTIATE_TEST_SUITE_P(Kinds, RandomState,
                         testing::Values(DecoderKind::self_attention, DecoderKind::ssru));

TEST(DecoderState, RefusesWhatCannotBe) {
  const TransformerConfig config = config_of(DecoderKind::self_attention);
  EXPECT_THROW(DecoderState(config, {.rows = 0, .source_tokens = 1, .target_tokens = 1}), Error);
  EXPECT_THROW(
      DecoderState(config,
                   {.rows = 1, .source_tokens = 1, .target_tokens = 1, .memory = DType::f16}),
      Error);
  DecoderState state(config, {.rows = 3, .source_tokens = 10, .target_tokens = 10});
  EXPECT_THROW(state.admit(0, 1), Error);
  EXPECT_THROW(state.fork(0), Error);
  const int a = *state.admit(2, 2), b = *state.admit(2, 2), c = *state.fork(a);
  const std::vector<int> twice{a, a}, both{a, c}, others{b, b};
  EXPECT_THROW(state.reorder(twice, both), Error);
  EXPECT_THROW(state.reorder(both, others), Error);
  EXPECT_THROW(state.reorder(both, std::vector<int>{a}), Error);
}

}  // namespace
}  // namespace heddle::model
