#include "heddle/ops/cpu/elementwise.h"
#include "heddle/ops/cpu/float_product.h"
#include "heddle/ops/cpu/gradients.h"
#include "heddle/ops/cpu/int8_dots.h"
#include "heddle/ops/cpu/int8_vnni.h"
#include "heddle/ops/cpu/simd_avx2.h"
#include "heddle/ops/cpu/tables.h"

namespace heddle::ops::cpu {

namespace {

struct Ints {
  using Float = AvxVnni;
  using Vec = __m256i;
  static constexpr int kInts = 8;
  static constexpr int kBlockRows = 4;  // 4 rows × 2 vectors, and a shorter rest than 6 rows leave
  static constexpr int kBlockTiles = 1;

  static Vec load(const void* from) { return _mm256_loadu_si256(static_cast<const Vec*>(from)); }
  static void store(int32_t* to, Vec a) { _mm256_storeu_si256(reinterpret_cast<Vec*>(to), a); }
  static Vec set(int32_t a) { return _mm256_set1_epi32(a); }
  static Float::Vec as_floats(Vec a) { return _mm256_cvtepi32_ps(a); }
  static Vec multiply(Vec a, Vec b) { return _mm256_mullo_epi32(a, b); }
  static Vec dot(Vec sum, Vec codes, Vec weights) {
    return _mm256_dpbusd_avx_epi32(sum, codes, weights);
  }
};

struct Dots {
  using Vec = __m256i;
  using Codes = __m256i;
  static constexpr int64_t kBytes = 32;

  static int prepare(const RowDots& d, int64_t) { return d.zero; }
  static Vec none() { return _mm256_setzero_si256(); }
  static Codes load(const RowDots& d, int64_t k) { return Ints::load(d.codes + k); }
  static Vec add(Vec sum, Codes codes, const int8_t* weights) {
    return Ints::dot(sum, codes, Ints::load(weights));
  }
  static void reduce(const Vec (&sums)[4], int32_t* totals) {
    _mm_store_si128(reinterpret_cast<__m128i*>(totals), reduce_four<AvxVnni>(sums));
  }
};

/// Leaf 7.1 of cpuid, bit 4 of eax, which not every compiler's runtime knows by name.
bool has_avx_vnni() {
  uint32_t a = 7, b = 0, c = 1, d = 0;
  __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return (a >> 4 & 1) != 0;
}

bool has_leaf_7_1() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  if (a < 7) return false;
  a = 7;
  c = 0;
  __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return a >= 1;
}

}  // namespace

const Kernels kAvxVnniKernels = {.name = "avxvnni",
                                 .supported =
                                     [] {
                                       return __builtin_cpu_supports("avx2") != 0 &&
                                              __builtin_cpu_supports("fma") != 0 &&
                                              has_leaf_7_1() && has_avx_vnni();
                                     },
                                 .pair_sums = false,
                                 .prepared_bytes = nullptr,
                                 .prepare_int8 = nullptr,
                                 .multiply_int8 = multiply_int8_vnni<Ints>,
                                 .multiply_float = multiply_float<AvxVnni>,
                                 .dot_rows_int8 = dot_rows_int8<Dots>,
                                 .dot_rows_float = dot_rows_float<AvxVnni>,
                                 .quantize = quantize<AvxVnni>,
                                 .largest = largest<AvxVnni>,
                                 .norm = norm<AvxVnni>,
                                 .activate = activate<AvxVnni>,
                                 .glu = glu<AvxVnni>,
                                 .exponentials = exponentials<AvxVnni>,
                                 .ssru = ssru<AvxVnni>,
                                 .most = most<AvxVnni>,
                                 .backward = kGradientKernels<AvxVnni>};

}  // namespace heddle::ops::cpu
