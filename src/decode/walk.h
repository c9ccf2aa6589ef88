// Rows that go their way alone: greedy choice, or one random draw a step. A request with several
// samples has one row for each.
#pragma once

#include "heddle/base/random.h"
#include "heddle/decode/search.h"

namespace heddle::decode {

class Walk : public Search {
 public:
  Walk(Request request, std::vector<int> slots, std::vector<int32_t> candidates, Engine& engine);

  Need need() const override;
  int choices() const override;
  bool advance(const Answer& answer) override;
  std::vector<Hypothesis> finish() override;

 private:
  struct Row {
    Hypothesis hypothesis;
    Random random;
  };

  Choice choose(const Answer& answer, size_t row);
  Choice choose_from_logits(std::span<float> logits, Row& row);
  void prepare();

  std::vector<Row> rows_;  // those of slots_, in their order
  std::vector<Hypothesis> done_;
  int64_t step_ = 0;
};

}  // namespace heddle::decode
