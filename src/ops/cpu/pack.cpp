#include <algorithm>
#include <cstring>
#include <vector>

#include "heddle/ops/cpu/pair_sums.h"

namespace heddle::ops::cpu {

namespace {

int64_t rounded_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }

/// An empty weight of `rows` × `columns`.
std::shared_ptr<PackedInt8> make_packed(int64_t rows, int64_t columns) {
  auto packed = std::make_shared<PackedInt8>();
  packed->rows = rows;
  packed->columns = columns;
  packed->quads = rounded_up((columns + 3) / 4, PackedInt8::kGroup);
  const int64_t padded_rows = rounded_up(rows, kTile);
  packed->tiles = Tensor::zeros({padded_rows, packed->quads * 4}, DType::i8);
  packed->scales = Tensor::zeros({padded_rows}, DType::f32);
  packed->sums = Tensor::zeros({padded_rows}, DType::i32);
  return packed;
}

/// Where element (n, 0) lies; (n, k) is k / 4 · 64 + k % 4 bytes further.
int64_t place_of_row(const PackedInt8& packed, int64_t n) {
  return n / kTile * packed.quads * 4 * kTile + n % kTile * 4;
}

void copy_row(const int8_t* from, PackedInt8& packed, int64_t n) {
  int8_t* to = packed.tiles.data<int8_t>() + place_of_row(packed, n);
  const int64_t whole = packed.columns / 4;
  for (int64_t quad = 0; quad < whole; ++quad) {
    std::memcpy(to + quad * 4 * kTile, from + 4 * quad, 4);
  }
  for (int64_t k = 4 * whole; k < packed.columns; ++k) to[whole * 4 * kTile + k % 4] = from[k];
}

}  // namespace

std::shared_ptr<const PackedInt8> pack_int8(const Tensor& values, std::span<const float> scales,
                                            bool keep, bool pairs, bool from_relu) {
  const int64_t rows = values.dim(0), columns = values.dim(1);
  const std::shared_ptr<PackedInt8> packed = make_packed(rows, columns);
  std::copy(scales.begin(), scales.end(), packed->scales.data<float>());
  for (int64_t n = 0; n < rows; ++n) {
    const int8_t* from = values.data<int8_t>() + n * columns;
    copy_row(from, *packed, n);
    int32_t sum = 0;
    for (int64_t k = 0; k < columns; ++k) sum += from[k];
    packed->sums.data<int32_t>()[n] = sum;
  }
  if (keep) packed->plain = values;
  if (pairs) prepare_pair_sums(*packed, from_relu);
  return packed;
}

namespace {

/// Row n in 8 bits.
void read_values(const PackedInt8& packed, int64_t n, int8_t* to) {
  if (packed.plain.defined()) {
    std::memcpy(to, packed.plain.data<int8_t>() + n * packed.columns,
                static_cast<size_t>(packed.columns));
    return;
  }
  const int8_t* from = packed.tiles.data<int8_t>() + place_of_row(packed, n);
  const int moved = packed.grouped != nullptr && packed.grouped->moved ? 0x80 : 0;
  for (int64_t k = 0; k < packed.columns; ++k) {
    to[k] = static_cast<int8_t>(from[k / 4 * 4 * kTile + k % 4] ^ moved);
  }
  if (packed.clipped == nullptr) return;
  const size_t tile = static_cast<size_t>(n / kTile);
  const std::vector<int32_t>& offsets = packed.clipped->rest_offset;
  for (int32_t i = offsets[tile]; i < offsets[tile + 1]; ++i) {
    const ClippedWeights::Rest& rest = packed.clipped->rests[static_cast<size_t>(i)];
    if (rest.column == n % kTile) to[rest.k] = static_cast<int8_t>(to[rest.k] + rest.value);
  }
}

}  // namespace

void read_row(const PackedInt8& packed, int64_t n, float* to) {
  const float scale = packed.scales.data<float>()[n];
  std::vector<int8_t> values(static_cast<size_t>(packed.columns));
  read_values(packed, n, values.data());
  for (const int8_t value : values) *to++ = static_cast<float>(value) * scale;
}

std::shared_ptr<const PackedInt8> select_rows(const PackedInt8& packed,
                                              std::span<const int32_t> ids) {
  const std::shared_ptr<PackedInt8> chosen =
      make_packed(static_cast<int64_t>(ids.size()), packed.columns);
  std::vector<int8_t> values(static_cast<size_t>(packed.columns));
  for (size_t i = 0; i < ids.size(); ++i) {
    const auto n = static_cast<int64_t>(i);
    chosen->scales.data<float>()[n] = packed.scales.data<float>()[ids[i]];
    chosen->sums.data<int32_t>()[n] = packed.sums.data<int32_t>()[ids[i]];
    read_values(packed, ids[i], values.data());
    copy_row(values.data(), *chosen, n);
  }
  const GroupedWeights* grouped = packed.grouped.get();
  if (packed.clipped != nullptr || grouped != nullptr) {
    prepare_pair_sums(*chosen, grouped != nullptr && !grouped->moved);
  }
  return chosen;
}

std::shared_ptr<const PackedFloat> select_rows(const PackedFloat& packed,
                                               std::span<const int32_t> ids) {
  auto chosen = std::make_shared<PackedFloat>();
  chosen->rows = static_cast<int64_t>(ids.size());
  chosen->columns = packed.columns;
  chosen->tiles =
      Tensor::zeros({chosen->tile_count(), packed.columns, kTile}, packed.tiles.dtype());
  const auto copy = [&]<typename T>(T*) {
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto n = static_cast<int64_t>(i);
      const T* from = packed.tile<T>(ids[i] / kTile) + ids[i] % kTile;
      T* to = chosen->tiles.template data<T>() + n / kTile * packed.columns * kTile + n % kTile;
      for (int64_t k = 0; k < packed.columns; ++k) to[k * kTile] = from[k * kTile];
    }
  };
  if (packed.tiles.dtype() == DType::f32) {
    copy(static_cast<float*>(nullptr));
  } else {
    copy(static_cast<BFloat16*>(nullptr));
  }
  return chosen;
}

}  // namespace heddle::ops::cpu
