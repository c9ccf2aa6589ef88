// Random interval masks: any bounds that a ColumnMask can hold.
#pragma once

#include <algorithm>

#include "heddle/base/random.h"
#include "heddle/mask/mask.h"

namespace heddle::test {

struct RandomMask {
  int64_t rows, keys, heads;
  bool causal;
  int bounds;  ///< how many of lts, lte, uts, ute to draw: 0 … 4
};

inline ColumnMask random_mask(Random& random, const RandomMask& wanted) {
  MaskParts parts{.query_length = wanted.rows,
                  .key_length = wanted.keys,
                  .heads = wanted.heads,
                  .causal = wanted.causal,
                  .offset = random.between(-wanted.rows / 2, wanted.keys)};
  const auto columns = static_cast<size_t>(wanted.heads * wanted.keys);
  // Neighbouring columns mostly agree, as in real masks: redraw one in `run` columns.
  const uint64_t run = random.below(20) + 1;
  int32_t lower[2] = {0, 0}, upper[2] = {0, 0};
  for (size_t at = 0; at < columns; ++at) {
    if (at == 0 || random.below(run) == 0) {
      for (int32_t* pair : {lower, upper}) {
        for (int i = 0; i < 2; ++i) pair[i] = static_cast<int32_t>(random.between(0, wanted.rows));
        std::sort(pair, pair + 2);
      }
    }
    if (wanted.bounds >= 1) parts.lts.push_back(lower[0]);
    if (wanted.bounds >= 3) parts.lte.push_back(lower[1]);
    if (wanted.bounds >= 4) parts.uts.push_back(upper[0]);
    if (wanted.bounds >= 2) parts.ute.push_back(upper[1]);
  }
  return ColumnMask(parts);
}

}  // namespace heddle::test
