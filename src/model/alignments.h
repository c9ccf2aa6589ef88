// What a step can tell of where it looked.
#pragma once

#include <cstdint>

namespace heddle::model {

/// Where decode_step writes how much each row looks at its source tokens: the weights of the
/// config's alignment layer and head, row r from values + r · stride on.
struct AlignmentRows {
  float* values = nullptr;
  int64_t stride = 0;
};

}  // namespace heddle::model
