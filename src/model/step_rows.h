// The tables of one decoder step: where each row stands, what it writes, and which keys it sees.
// The same on the processor and on a GPU; there they go in one copy.
#pragma once

#include <cstdint>
#include <span>

#include "heddle/model/config.h"
#include "heddle/model/decoder_state.h"

namespace heddle::model {

struct StepRows {
  static constexpr int64_t kTables = 8;

  /// Cuts [kTables · R] numbers into tables of R rows.
  StepRows(int32_t* memory, int64_t rows);

  /// Counts one more step of each slot, the rows of one behind each other, and fills its row.
  /// Throws where a slot or the model allows no more.
  void advance(std::span<const int> slots, const TransformerConfig& config, DecoderState& state);

  /// Row r stands for nothing: it writes at `at`, the first place of no slot, and sees no key.
  void leave_empty(int64_t r, int64_t at);

  std::span<int32_t> position, at;             ///< [R]: steps before; row of the pool, or cell
  std::span<int32_t> self_begin, self_length;  ///< of the target pool
  std::span<int32_t> cross_begin, cross_length;
  std::span<int32_t> near_begin, near_length;  ///< of layers that slide
};

}  // namespace heddle::model
