#include "heddle/model/step_rows.h"

#include <algorithm>

#include "heddle/model/packed_forward.h"

namespace heddle::model {

StepRows::StepRows(int32_t* memory, int64_t rows) {
  for (std::span<int32_t>* table : {&position, &at, &self_begin, &self_length, &cross_begin,
                                    &cross_length, &near_begin, &near_length}) {
    *table = {memory, static_cast<size_t>(rows)};
    memory += rows;
  }
}

void StepRows::advance(std::span<const int> slots, const TransformerConfig& config,
                       DecoderState& state) {
  for (size_t r = 0; r < slots.size(); ++r) {
    const DecoderState::Step step = state.advance(slots[r]);
    check_length("target", step.position + 1, config);
    position[r] = static_cast<int32_t>(step.position);
    at[r] = static_cast<int32_t>(step.at);
    self_begin[r] = static_cast<int32_t>(step.past.begin);
    self_length[r] = static_cast<int32_t>(step.position + 1);
    cross_begin[r] = static_cast<int32_t>(step.source.begin);
    cross_length[r] = static_cast<int32_t>(step.source.length);
    near_length[r] = static_cast<int32_t>(std::min(step.position + 1, config.window));
    near_begin[r] = self_begin[r] + self_length[r] - near_length[r];
  }
}

void StepRows::leave_empty(int64_t r, int64_t place) {
  const auto row = static_cast<size_t>(r);
  for (const std::span<int32_t> table :
       {position, self_begin, self_length, cross_begin, cross_length, near_begin, near_length}) {
    table[row] = 0;
  }
  at[row] = static_cast<int32_t>(place);
}

}  // namespace heddle::model
