// What a scheduler drives: one model, or several that vote, with slots for the sentences they are
// writing. The scheduler knows requests and rows; an engine knows devices and numbers. The CPU has
// one engine for each worker thread; tests have one that computes nothing.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <vector>

namespace heddle::decode {

/// A token and its log-probability.
struct Choice {
  int32_t token = -1;
  float log_probability = -std::numeric_limits<float>::infinity();
};

/// Tokens of the vocabulary, rising, without repeats.
using Tokens = std::span<const int32_t>;

/// One decoder step of some rows; row r of every result belongs to slots[r].
struct Step {
  std::span<const int> slots;            ///< [R], each once
  std::span<const int32_t> previous;     ///< [R], the token each wrote last; start() at first
  std::span<const Tokens> candidates{};  ///< [R]: what a row may choose; empty: all rows anything
  std::span<const Tokens> banned{};      ///< [R]: what a row may not choose; empty: nothing
};

class Engine {
 public:
  virtual ~Engine() = default;

  virtual int64_t vocabulary() const = 0;     ///< V, of the target
  virtual int32_t start() const = 0;          ///< previous token of the first step; −1: none
  virtual int32_t end() const = 0;            ///< the token that ends source and target
  virtual int64_t max_positions() const = 0;  ///< longest source and target; 0: no end
  virtual int rows() const = 0;               ///< slots there are
  virtual int64_t source_tokens() const = 0;  ///< of all slots together

  /// A slot for a source and up to `target_limit` steps; nothing when it does not fit now.
  virtual std::optional<int> admit(int64_t source_length, int64_t target_limit) = 0;

  /// Another slot with the same source and a copy of what was written.
  virtual std::optional<int> fork(int slot) = 0;

  /// slots[i] goes on from what parents[i] has written, all at once.
  virtual void reorder(std::span<const int> slots, std::span<const int> parents) = 0;
  virtual void release(int slot) = 0;

  /// Encodes sources packed side by side: sentence s is tokens [offsets[s], offsets[s + 1]).
  virtual void encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
                      std::span<const int> slots) = 0;

  /// A step that chooses nothing: the next token is known.
  virtual void advance(const Step& step) = 0;

  /// A step with the best token of each row; no probabilities are computed.
  virtual void best(const Step& step, std::span<int32_t> tokens) = 0;

  /// A step with the k best tokens of each row, best first: choices [R, k]. Missing ones (fewer
  /// than k candidates) have token −1.
  virtual void top(const Step& step, int k, std::span<Choice> choices) = 0;

  /// A step with all logits [R, V]; what may not be chosen has −inf.
  virtual void logits(const Step& step, std::span<float> values) = 0;

  /// From now on each step also leaves the weights of the source tokens in the alignment head.
  virtual void keep_alignments(bool keep) = 0;

  /// Of row r in the last step: one weight for each source token.
  virtual std::span<const float> alignment(int row) const = 0;
};

}  // namespace heddle::decode
