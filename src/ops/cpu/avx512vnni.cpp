#include "heddle/ops/cpu/elementwise.h"
#include "heddle/ops/cpu/float_product.h"
#include "heddle/ops/cpu/gradients.h"
#include "heddle/ops/cpu/int8_dots.h"
#include "heddle/ops/cpu/int8_vnni.h"
#include "heddle/ops/cpu/simd_avx512.h"
#include "heddle/ops/cpu/tables.h"

namespace heddle::ops::cpu {

namespace {

struct Ints {
  using Float = Avx512;
  using Vec = __m512i;
  static constexpr int kInts = 16;
  static constexpr int kBlockRows = 4;   // 4 rows × 4 tiles of sums, 4 of weights: enough sums to
  static constexpr int kBlockTiles = 4;  // hide the latency, and a shorter rest than 6 rows leave

  static Vec load(const void* from) { return _mm512_loadu_si512(from); }
  static void store(int32_t* to, Vec a) { _mm512_storeu_si512(to, a); }
  static Vec set(int32_t a) { return _mm512_set1_epi32(a); }
  static Float::Vec as_floats(Vec a) { return _mm512_cvtepi32_ps(a); }
  static Vec multiply(Vec a, Vec b) { return _mm512_mullo_epi32(a, b); }
  static Vec dot(Vec sum, Vec codes, Vec weights) {
    return _mm512_dpbusd_epi32(sum, codes, weights);
  }
};

struct Dots {
  using Vec = __m512i;
  using Codes = __m512i;
  static constexpr int64_t kBytes = 64;

  static int prepare(const RowDots& d, int64_t) { return d.zero; }
  static Vec none() { return _mm512_setzero_si512(); }
  static Codes load(const RowDots& d, int64_t k) { return Ints::load(d.codes + k); }
  static Vec add(Vec sum, Codes codes, const int8_t* weights) {
    return Ints::dot(sum, codes, Ints::load(weights));
  }
  static void reduce(const Vec (&sums)[4], int32_t* totals) {
    __m256i halves[4];
    for (int c = 0; c < 4; ++c) {
      halves[c] =
          _mm256_add_epi32(_mm512_castsi512_si256(sums[c]), _mm512_extracti64x4_epi64(sums[c], 1));
    }
    _mm_store_si128(reinterpret_cast<__m128i*>(totals), reduce_four<Avx512>(halves));
  }
};

}  // namespace

const Kernels kAvx512VnniKernels = {.name = "avx512vnni",
                                    .supported =
                                        [] {
                                          return __builtin_cpu_supports("avx512f") != 0 &&
                                                 __builtin_cpu_supports("avx512bw") != 0 &&
                                                 __builtin_cpu_supports("avx512vl") != 0 &&
                                                 __builtin_cpu_supports("avx512vnni") != 0;
                                        },
                                    .pair_sums = false,
                                    .prepared_bytes = nullptr,
                                    .prepare_int8 = nullptr,
                                    .multiply_int8 = multiply_int8_vnni<Ints>,
                                    .multiply_float = multiply_float<Avx512>,
                                    .dot_rows_int8 = dot_rows_int8<Dots>,
                                    .dot_rows_float = dot_rows_float<Avx512>,
                                    .quantize = quantize<Avx512>,
                                    .largest = largest<Avx512>,
                                    .norm = norm<Avx512>,
                                    .activate = activate<Avx512>,
                                    .glu = glu<Avx512>,
                                    .exponentials = exponentials<Avx512>,
                                    .ssru = ssru<Avx512>,
                                    .most = most<Avx512>,
                                    .backward = kGradientKernels<Avx512>};

}  // namespace heddle::ops::cpu
