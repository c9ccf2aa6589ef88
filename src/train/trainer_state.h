// What a trainer must remember to go on to the bit, and what must be the same when it does.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "heddle/data/packer.h"
#include "heddle/io/value.h"
#include "heddle/train/spread.h"
#include "heddle/train/trainable.h"

namespace heddle::train {

struct TrainerState {
  int64_t step = 0;               ///< done
  data::PackerPosition position;  ///< of the next batch
  int64_t tokens = 0;             ///< target tokens trained on
  int64_t skipped = 0;            ///< steps whose gradient was not finite
  int64_t skipped_in_row = 0;
  Spread loss, norm;     ///< a token's loss and the gradient's norm, of the last steps
  LossSums interval;     ///< since the last report
  double best_loss = 0;  ///< of a validation; meaningful after the first
  int64_t best_step = 0;
  int64_t evaluations_without_gain = 0;
};

/// Doubles keep their bits.
io::Value to_value(const TrainerState& state);
TrainerState state_of(const io::Field& field);

/// "learning_rate: 0.001 before, 0.002 now" for each member that differs; empty when none does.
std::vector<std::string> differences(const io::Value& before, const io::Value& now);

}  // namespace heddle::train
