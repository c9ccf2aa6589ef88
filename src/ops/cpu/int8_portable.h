// The plain product of codes: what every other one must equal to the bit.
#pragma once

#include "heddle/ops/cpu/finish.h"
#include "heddle/ops/cpu/packed.h"

namespace heddle::ops::cpu {

template <typename V>
void multiply_int8_plainly(const Int8Product& p) {
  const PackedInt8& w = *p.weight;
  const float* scales = w.scales.data<float>();
  const int32_t* weight_sums = w.sums.data<int32_t>();
  for (int64_t n = p.columns.first; n < p.columns.end; n += kTile) {
    const int64_t count = p.columns.end - n;
    const int8_t* tile = w.tile(n / kTile);
    for (int64_t r = 0; r < p.rows; ++r) {
      const uint8_t* codes = p.codes + r * p.codes_stride;
      int32_t sums[kTile];
      for (int c = 0; c < kTile; ++c) sums[c] = -p.zero * weight_sums[n + c];
      for (int64_t quad = 0; quad < w.quads; ++quad) {
        const int8_t* values = tile + quad * 4 * kTile;
        for (int c = 0; c < kTile; ++c) {
          for (int i = 0; i < 4; ++i) sums[c] += codes[4 * quad + i] * values[4 * c + i];
        }
      }
      const float step = p.steps != nullptr ? p.steps[r] : p.step;
      const Lanes<V> y = as_floats<V>(sums) * (Lanes<V>::load(scales + n) * Lanes<V>::set(step));
      with_finish<V>(p.finish, n - p.columns.first, count,
                     [&](const auto& finish) { finish.row(r, y); });
    }
  }
}

template <typename V>
void dot_rows_int8_plainly(const RowDots& d) {
  const PackedInt8& w = *d.int8;
  const float* scales = w.scales.data<float>();
  for (int64_t c = 0; c < d.count; ++c) {
    const int64_t n = d.ids[c];
    const int8_t* values = w.plain.data<int8_t>() + n * w.columns;
    int32_t sum = -d.zero * w.sums.data<int32_t>()[n];
    for (int64_t k = 0; k < w.columns; ++k) sum += d.codes[k] * values[k];
    const float y = static_cast<float>(sum) * (scales[n] * d.step);
    d.logits[c] = d.bias != nullptr ? y + d.bias[n] : y;
  }
}

}  // namespace heddle::ops::cpu
