// Beam search as Marian does it: each step keeps the `width` best continuations of all hypotheses;
// one that ends leaves the beam, which gets narrower by one (later, with patience above 1), and the
// search is over when beam · patience have ended. The best is the one with the largest
// Σ log p / n^length_penalty.
#pragma once

#include "heddle/decode/search.h"

namespace heddle::decode {

class BeamSearch : public Search {
 public:
  BeamSearch(Request request, std::vector<int> slots, std::vector<int32_t> candidates,
             Engine& engine);

  Need need() const override;
  int choices() const override;
  bool advance(const Answer& answer) override;
  std::vector<Hypothesis> finish() override;
  void abandon() override;

 private:
  /// One way to go on: hypothesis `row` with one more token.
  struct Continuation {
    size_t row;
    Choice choice;
    double total;
  };

  std::vector<Continuation> continuations(const Answer& answer) const;
  void complete(Hypothesis hypothesis);
  size_t width() const;
  void move_slots(const std::vector<size_t>& parents);

  size_t most_done_;
  std::vector<Hypothesis> live_;  // those of slots_, in their order
  std::vector<int> spare_;        // slots without a hypothesis now
  std::vector<Hypothesis> done_;
  int64_t step_ = 0;
};

}  // namespace heddle::decode
