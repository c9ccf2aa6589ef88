#include <algorithm>

#include "heddle/base/half.h"
#include "heddle/model/layers_of_pass.h"

namespace heddle::model {

template void run_encoder(Pass&, const PackedRows&, ops::Rows&);
template void run_decoder(Pass&, const DecoderRows&, DecoderMemory&, ops::Rows&);

void store_rows(const ops::Rows& from, std::span<const int32_t> at, DType dtype, void* pool) {
  const int64_t width = from.width();
  for (int64_t r = 0; r < from.count(); ++r) {
    const float* row = from.row(r);
    const int64_t first = at[static_cast<size_t>(r)] * width;
    if (dtype == DType::f32) {
      std::copy_n(row, width, static_cast<float*>(pool) + first);
    } else {
      auto* to = static_cast<BFloat16*>(pool) + first;
      for (int64_t i = 0; i < width; ++i) to[i] = BFloat16(row[i]);
    }
  }
}

}  // namespace heddle::model
