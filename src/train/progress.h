// One line for people: how far a training is.
#pragma once

#include <string>

#include "heddle/train/trainer.h"

namespace heddle::train {

/// "step 1200/20000  epoch 0.31  loss 4.2137  ppl 38.1  acc 34.2 %  lr 1.5e-04  norm 0.83
///  41.2k tok/s  padding 0 %  1:02:09 left"
std::string progress_line(const Report& report, int64_t max_steps);

}  // namespace heddle::train
