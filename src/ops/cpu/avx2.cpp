#include "heddle/ops/cpu/elementwise.h"
#include "heddle/ops/cpu/float_product.h"
#include "heddle/ops/cpu/gradients.h"
#include "heddle/ops/cpu/int8_clipped_weights.h"
#include "heddle/ops/cpu/int8_dots.h"
#include "heddle/ops/cpu/int8_grouped.h"
#include "heddle/ops/cpu/simd_avx2.h"
#include "heddle/ops/cpu/tables.h"

namespace heddle::ops::cpu {

namespace {

/// Signed codes, and their sizes `distance` bytes behind.
void split_signs(const uint8_t* codes, int64_t count, int zero, uint8_t* to, int64_t distance) {
  const __m256i shift = _mm256_set1_epi8(static_cast<char>(zero));
  for (int64_t k = 0; k < count; k += 32) {
    const __m256i x = _mm256_sub_epi8(load_bytes<Avx2>(codes + k), shift);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + k), x);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + k + distance), _mm256_abs_epi8(x));
  }
}

struct SignedDots {
  using Vec = __m256i;
  struct Codes {
    __m256i values, sizes;
  };
  static constexpr int64_t kBytes = 32;

  static int prepare(const RowDots& d, int64_t whole) {
    split_signs(d.codes, whole, d.zero, d.scratch, d.scratch_bytes);
    return 0;
  }
  static Vec none() { return _mm256_setzero_si256(); }
  static Codes load(const RowDots& d, int64_t k) {
    return {load_bytes<Avx2>(d.scratch + k), load_bytes<Avx2>(d.scratch + d.scratch_bytes + k)};
  }
  static Vec add(Vec sum, const Codes& codes, const int8_t* weights) {
    const __m256i w = _mm256_sign_epi8(load_bytes<Avx2>(weights), codes.values);
    return _mm256_add_epi32(sum, widened<Avx2>(_mm256_maddubs_epi16(codes.sizes, w)));
  }
  static void reduce(const Vec (&sums)[4], int32_t* totals) {
    _mm_store_si128(reinterpret_cast<__m128i*>(totals), reduce_four<Avx2>(sums));
  }
};

int64_t prepared_bytes(const PackedInt8& weight, int64_t rows) {
  if (weight.grouped == nullptr) return rows * int64_t{sizeof(int32_t)};
  return (rows + PreparedBlock::kRows - 1) / PreparedBlock::kRows *
         PreparedBlock(weight.quads).bytes;
}

void prepare_int8(const Int8Product& product) {
  if (product.weight->clipped != nullptr) {
    prepare_norms<Avx2>(product);
  } else if (product.weight->grouped->moved) {
    prepare_codes<Avx2, true>(product);
  } else {
    prepare_codes<Avx2, false>(product);
  }
}

void multiply_int8(const Int8Product& product) {
  if (product.weight->clipped != nullptr) {
    ClippedWeightsProduct<Avx2>(product).run();
  } else if (product.weight->grouped->moved) {
    GroupedProduct<Avx2, true>(product).run();
  } else {
    GroupedProduct<Avx2, false>(product).run();
  }
}

}  // namespace

const Kernels kAvx2Kernels = {
    .name = "avx2",
    .supported =
        [] { return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0; },
    .pair_sums = true,
    .prepared_bytes = prepared_bytes,
    .prepare_int8 = prepare_int8,
    .multiply_int8 = multiply_int8,
    .multiply_float = multiply_float<Avx2>,
    .dot_rows_int8 = dot_rows_int8<SignedDots>,
    .dot_rows_float = dot_rows_float<Avx2>,
    .quantize = quantize<Avx2>,
    .largest = largest<Avx2>,
    .norm = norm<Avx2>,
    .activate = activate<Avx2>,
    .glu = glu<Avx2>,
    .exponentials = exponentials<Avx2>,
    .ssru = ssru<Avx2>,
    .most = most<Avx2>,
    .backward = kGradientKernels<Avx2>};

}  // namespace heddle::ops::cpu
