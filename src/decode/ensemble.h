// Several models with one vocabulary that vote: the mean of their log-probabilities chooses.
#pragma once

#include <memory>
#include <vector>

#include "heddle/decode/engine.h"

namespace heddle::decode {

class Ensemble : public Engine {
 public:
  /// Throws unless there is at least one engine and all agree in vocabulary and end token.
  explicit Ensemble(std::vector<std::unique_ptr<Engine>> members);

  int64_t vocabulary() const override { return members_[0]->vocabulary(); }
  int32_t start() const override { return members_[0]->start(); }
  int32_t end() const override { return members_[0]->end(); }
  int64_t max_positions() const override;
  int rows() const override;
  int64_t source_tokens() const override;

  std::optional<int> admit(int64_t source_length, int64_t target_limit) override;
  std::optional<int> fork(int slot) override;
  void reorder(std::span<const int> slots, std::span<const int> parents) override;
  void release(int slot) override;
  void encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
              std::span<const int> slots) override;
  void advance(const Step& step) override;
  void best(const Step& step, std::span<int32_t> tokens) override;
  void top(const Step& step, int k, std::span<Choice> choices) override;
  void logits(const Step& step, std::span<float> values) override;
  void keep_alignments(bool keep) override;
  std::span<const float> alignment(int row) const override;

 private:
  std::optional<int> keep(std::vector<std::optional<int>> slots);
  std::vector<int> slots_of(size_t member, std::span<const int> slots) const;
  std::vector<int32_t> previous_of(size_t member, const Step& step) const;

  std::vector<std::unique_ptr<Engine>> members_;
  std::vector<std::vector<int>> slots_;  // of ours, the slot of each member; empty when free
  std::vector<int> free_;
  mutable std::vector<float> alignment_;
};

}  // namespace heddle::decode
