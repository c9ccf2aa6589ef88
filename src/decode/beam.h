// Beam search as Marian does it: each step keeps the `width` best continuations of all hypotheses;
// one that ends leaves the beam, which gets narrower by one (later, with patience above 1), and the
// search is over when beam · patience have ended. The best is the one with the largest
// Σ log p / n^length_penalty.
#pragma once

#include <optional>
#include <vector>

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
  /// A token behind others, which hypotheses share.
  struct Node {
    int32_t before;  // in nodes_; −1: none
    int32_t token;
    float log_probability;
  };

  /// A hypothesis that may go on; all have as many tokens.
  struct Live {
    int32_t last = -1;  // in nodes_
    double log_probability = 0;
    std::vector<float> alignment{};
  };

  /// One way to go on: hypothesis `row` with one more token.
  struct Continuation {
    size_t row;
    Choice choice;
    double total;
    size_t order;  // of equal ones the first
  };

  /// Writes ways_, the best first.
  void find_continuations(const Answer& answer);
  void choose_from_logits(const Answer& answer, size_t row);
  void tokens_of(const Live& live, std::vector<int32_t>& tokens) const;
  /// `end`: the end token's log-probability, if it was written.
  void complete(Live live, std::optional<float> end);
  size_t width() const;
  void move_slots();
  void prepare_step();

  size_t most_done_;
  std::vector<Node> nodes_;
  std::vector<Live> live_;  // those of slots_, in their order
  std::vector<int> spare_;  // slots without a hypothesis now
  std::vector<Hypothesis> done_;
  int64_t step_ = 0;

  // Of one step; here so that no step asks for memory.
  std::vector<Continuation> ways_;
  std::vector<Choice> chosen_;
  std::vector<Live> next_;
  std::vector<size_t> parents_;  // of next_, in live_
  std::vector<int> next_slots_, parent_slots_;
  std::vector<uint8_t> taken_;
  std::vector<int32_t> tokens_;
};

}  // namespace heddle::decode
