// The search of one request: which rows it has in the next step, what it asks of the engine, and
// what it makes of the answer. A scheduler holds many and knows none of them closer.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "heddle/decode/engine.h"
#include "heddle/decode/request.h"

namespace heddle::decode {

/// What a search asks of a step, from cheap to dear.
enum class Need : uint8_t {
  nothing,  ///< the next token is known
  best,     ///< the best token
  top,      ///< some best tokens with log-probabilities
  logits,   ///< everything
};

/// The answers to the rows of one search, in their order; which are set says the need.
struct Answer {
  std::span<const int32_t> best{};    ///< [rows]
  std::span<const Choice> choices{};  ///< [rows, width]
  int width = 0;                      ///< of choices, at least what the search asked for
  std::span<float> logits{};          ///< [rows, V], may be changed
  int first_row = 0;                  ///< in the step, for Engine::alignment
};

class Search {
 public:
  /// `slots` are admitted (and forked) for this request; the search gives them back to the engine.
  Search(Request request, std::vector<int> slots, std::vector<int32_t> candidates, Engine& engine);
  virtual ~Search() = default;
  Search(const Search&) = delete;
  Search& operator=(const Search&) = delete;

  const Request& request() const { return request_; }
  Tokens candidates() const { return candidates_; }

  virtual Need need() const = 0;
  virtual int choices() const { return 0; }  ///< per row, when the need is top

  /// Slot, previous token and banned tokens of each row in the next step.
  std::span<const int> slots() const { return slots_; }
  std::span<const int32_t> previous() const { return previous_; }
  std::span<const std::vector<int32_t>> banned() const { return banned_; }

  /// Takes the answer of a step; true when the request is finished and holds no slots any more.
  virtual bool advance(const Answer& answer) = 0;

  /// Translations, best first; after advance has returned true.
  virtual std::vector<Hypothesis> finish() = 0;

  /// Gives back the slots of a request that is not wanted any more.
  virtual void abandon();

  int64_t target_limit() const { return limit_; }

 protected:
  const Options& options() const { return *request_.options; }

  /// What a row that has written `tokens` may not write next; nothing ever, unless `bans()`.
  bool bans() const { return options().repetition.no_repeat_ngram > 0 || options().min_length > 0; }
  void ban(std::span<const int32_t> tokens, std::vector<int32_t>& banned) const;

  /// Appends the row's weights to an alignment, when alignments are wanted.
  void align(int row, std::vector<float>& alignment) const;

  Request request_;
  std::vector<int32_t> candidates_;
  Engine& engine_;
  int64_t limit_;  // most tokens, the end included

  // Row by row of the next step.
  std::vector<int> slots_;
  std::vector<int32_t> previous_;
  std::vector<std::vector<int32_t>> banned_;
};

/// Most tokens that a request may write, its prefix and the end included.
int64_t target_limit(const Request& request, const Engine& engine);

/// Rows a request needs: its beam, or its samples.
int rows_of(const Options& options);

/// The search that the request's options ask for.
std::unique_ptr<Search> make_search(Request request, std::vector<int> slots,
                                    std::vector<int32_t> candidates, Engine& engine);

}  // namespace heddle::decode
