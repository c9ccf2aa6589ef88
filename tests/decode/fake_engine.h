// An engine that computes nothing: the logits of a row are a hash of its source and of what it has
// written, so that results can be predicted, and every misuse of a slot is an error.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/base/random.h"
#include "heddle/decode/choose.h"
#include "heddle/decode/engine.h"
#include "heddle/decode/request.h"

namespace heddle::decode::test {

struct FakeSize {
  int rows = 8;
  int64_t source_tokens = 64;
  int64_t vocabulary = 12;
  double end_bonus = 0;  ///< added to the end's logit: shorter translations
};

class FakeEngine : public Engine {
 public:
  explicit FakeEngine(const FakeSize& size = {}) : size_(size) {
    for (int slot = size.rows; slot-- > 0;) free_.push_back(slot);
  }
  ~FakeEngine() override { EXPECT_TRUE(slots_.empty()) << "slots were not given back"; }

  int64_t vocabulary() const override { return size_.vocabulary; }
  int32_t start() const override { return -1; }
  int32_t end() const override { return 0; }
  int64_t max_positions() const override { return 0; }
  int rows() const override { return size_.rows; }
  int64_t source_tokens() const override { return size_.source_tokens; }

  std::optional<int> admit(int64_t source_length, int64_t target_limit) override {
    if (free_.empty() || used_tokens_ + source_length > size_.source_tokens) return std::nullopt;
    const int slot = free_.back();
    free_.pop_back();
    used_tokens_ += source_length;
    auto source = std::make_shared<Source>();
    source->length = source_length;
    slots_[slot] = {source, {}, target_limit};
    return slot;
  }

  std::optional<int> fork(int slot) override {
    if (free_.empty()) return std::nullopt;
    const int copy = free_.back();
    free_.pop_back();
    slots_[copy] = slots_.at(slot);
    return copy;
  }

  void reorder(std::span<const int> slots, std::span<const int> parents) override {
    const auto before = slots_;
    std::set<int> seen;
    for (size_t i = 0; i < slots.size(); ++i) {
      EXPECT_TRUE(seen.insert(slots[i]).second);
      EXPECT_EQ(before.at(slots[i]).source, before.at(parents[i]).source);
      slots_.at(slots[i]).written = before.at(parents[i]).written;
    }
  }

  void release(int slot) override {
    const auto place = slots_.find(slot);
    ASSERT_NE(place, slots_.end()) << "slot " << slot << " is given back twice";
    if (place->second.source.use_count() == 1) used_tokens_ -= place->second.source->length;
    slots_.erase(place);
    free_.push_back(slot);
  }

  void encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
              std::span<const int> slots) override {
    encoded.push_back(static_cast<int>(slots.size()));
    for (size_t s = 0; s < slots.size(); ++s) {
      const size_t begin = static_cast<size_t>(offsets[s]),
                   end = static_cast<size_t>(offsets[s + 1]);
      Source& source = *slots_.at(slots[s]).source;
      EXPECT_EQ(static_cast<int64_t>(end - begin), source.length);
      source.tokens.assign(tokens.begin() + static_cast<std::ptrdiff_t>(begin),
                           tokens.begin() + static_cast<std::ptrdiff_t>(end));
    }
  }

  void advance(const Step& step) override { take(step); }

  void best(const Step& step, std::span<int32_t> tokens) override {
    std::vector<Choice> choices(tokens.size());
    top(step, 1, choices);
    for (size_t r = 0; r < tokens.size(); ++r) tokens[r] = choices[r].token;
  }

  void top(const Step& step, int k, std::span<Choice> choices) override {
    std::vector<float> values(step.slots.size() * static_cast<size_t>(size_.vocabulary));
    logits(step, values);
    const size_t width = static_cast<size_t>(size_.vocabulary), kept = static_cast<size_t>(k);
    for (size_t r = 0; r < step.slots.size(); ++r) {
      const std::span<float> row = std::span(values).subspan(r * width, width);
      log_softmax(row);
      best_of(row, choices.subspan(r * kept, kept));
    }
  }

  void logits(const Step& step, std::span<float> values) override {
    take(step);
    const size_t width = static_cast<size_t>(size_.vocabulary);
    for (size_t r = 0; r < step.slots.size(); ++r) {
      const Slot& slot = slots_.at(step.slots[r]);
      const std::span<float> row = values.subspan(r * width, width);
      fill(slot.source->tokens, slot.written, row);
      forbid(row, step.candidates.empty() ? Tokens{} : step.candidates[r],
             step.banned.empty() ? Tokens{} : step.banned[r]);
    }
  }

  void keep_alignments(bool keep) override { keeps_ = keep; }
  std::span<const float> alignment(int row) const override {
    EXPECT_TRUE(keeps_);
    return alignments_.at(static_cast<size_t>(row));
  }

  /// The logits of a row that has written these tokens.
  void fill(const std::vector<int32_t>& source, const std::vector<int32_t>& written,
            std::span<float> row) const {
    uint64_t key = 17;
    for (const int32_t token : source) key = key * 1000003 + static_cast<uint64_t>(token);
    for (const int32_t token : written) key = key * 998244353 + static_cast<uint64_t>(token) + 5;
    Random random(key);
    for (float& value : row) value = static_cast<float>(2 * random.normal());
    row[0] += static_cast<float>(size_.end_bonus);
  }

  std::vector<int> encoded;  ///< sentences of each encoder batch
  std::vector<int> stepped;  ///< rows of each step

 private:
  struct Source {
    int64_t length = 0;
    std::vector<int32_t> tokens;
  };
  struct Slot {
    std::shared_ptr<Source> source;
    std::vector<int32_t> written;
    int64_t limit = 0;
  };

  // The fake remembers what was fed: a wrong previous token gives other logits.
  void take(const Step& step) {
    stepped.push_back(static_cast<int>(step.slots.size()));
    std::set<int> seen;
    alignments_.clear();
    for (size_t r = 0; r < step.slots.size(); ++r) {
      EXPECT_TRUE(seen.insert(step.slots[r]).second);
      Slot& slot = slots_.at(step.slots[r]);
      EXPECT_FALSE(slot.source->tokens.empty()) << "a step before the source was encoded";
      EXPECT_LT(std::ssize(slot.written), slot.limit) << "more steps than were admitted";
      slot.written.push_back(step.previous[r]);
      const auto length = static_cast<size_t>(slot.source->length);
      alignments_.emplace_back(length, 1.0f / static_cast<float>(length));
    }
  }

  FakeSize size_;
  std::vector<int> free_;
  std::map<int, Slot> slots_;
  int64_t used_tokens_ = 0;
  bool keeps_ = false;
  std::vector<std::vector<float>> alignments_;
};

/// A request with a source of random tokens, the end last.
inline Request random_request(Random& random, uint64_t id, const Options& options,
                              int64_t longest = 6) {
  Request request;
  request.id = id;
  for (int64_t n = random.between(0, longest - 1); n > 0; --n) {
    request.source.push_back(static_cast<int32_t>(random.between(1, 11)));
  }
  request.source.push_back(0);
  request.options = std::make_shared<const Options>(options);
  request.random_key = id;
  return request;
}

}  // namespace heddle::decode::test
