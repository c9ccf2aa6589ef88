// A mask of one's own: a chat turn in which every row sees the first `sinks` tokens and a causal
// window, given as the bounds of a ColumnMask, then combined, cut, and drawn.
#include <algorithm>
#include <iostream>

#include "heddle/mask/algebra.h"
#include "heddle/mask/builders.h"
#include "heddle/mask/picture.h"
#include "heddle/mask/plan.h"

namespace {

/// Row i sees keys j < sinks and the last `window` keys, itself included; causal.
heddle::ColumnMask sink_window(int64_t length, int64_t sinks, int64_t window) {
  heddle::MaskParts parts{.query_length = length, .key_length = length, .causal = true};
  for (int64_t key = 0; key < length; ++key) {
    // The column is hidden from row `lts` on; the rows before the diagonal are hidden by `causal`.
    const int64_t lts = key < sinks ? length : std::min(key + window, length);
    parts.lts.push_back(static_cast<int32_t>(lts));
  }
  return heddle::ColumnMask(parts);
}

void show(const char* name, const heddle::ColumnMask& mask) {
  const heddle::TileCounts tiles = heddle::MaskPlan(mask, {4, 4}).counts();
  std::cout << name << ": " << mask.visible_pairs() << " pairs, density " << mask.density() << ", "
            << mask.bytes() << " bytes; 4 x 4 tiles: " << tiles.skipped << " skipped, "
            << tiles.partial << " partial, " << tiles.full << " full\n"
            << heddle::picture_text(mask) << '\n';
}

}  // namespace

int main() {
  const heddle::ColumnMask mask = sink_window(16, 2, 4);
  show("sinks and window", mask);

  // The same for two packed documents: a pair may look when both masks allow it.
  show("in two documents", heddle::masks::intersect(mask, heddle::masks::causal_document({10, 6})));

  // What one of two ranks computes when it takes every second row.
  show("odd rows",
       heddle::masks::select_rows(mask, std::vector<int32_t>{1, 3, 5, 7, 9, 11, 13, 15}));

  try {
    heddle::masks::document({3, 0});
  } catch (const heddle::Error& error) {
    std::cout << "refused: " << error.what() << '\n';
  }
}
