// The instructions of compute capability 8.0 that attention is made of, and the layout of tiles in
// shared memory.
//
// A tile is rows of E 16-bit elements; the 16-byte chunk c of row r lies at chunk c ^ (r & 7), so
// that the eight rows of a matrix load touch all banks once. Rows of 64 bytes, two to a line of
// banks, have it at c ^ (r / 2 & 3). Fragments of mma.m16n8k16, by lane:
//   C: row lane/4 (+8), columns 2·(lane%4) + {0, 1};  A and B: as PTX defines them.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace heddle::attention::cuda::sm80 {

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;
constexpr float kInfinity = __builtin_huge_valf();

__device__ inline uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

/// c += a · b, 16×16 times 16×8.
template <typename T>
__device__ inline void multiply(float (&c)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  if constexpr (__is_same(T, __half)) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
        "{%8,%9}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
  }
}

/// Four 8×8 matrices; lane l gives the address of row l%8 of matrix l/8.
__device__ inline void load_matrices(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

__device__ inline void load_matrices_transposed(uint32_t (&r)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(address)
               : "memory");
}

/// Starts copying 16 bytes; zeros when not valid, and then `from` is not read.
__device__ inline void copy_async_16(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(valid ? 16 : 0)
               : "memory");
}

__device__ inline void copy_async_4(uint32_t to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(from),
               "r"(valid ? 4 : 0)
               : "memory");
}

/// Closes a group of copies.
__device__ inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Waits until at most n of this thread's groups are under way.
template <int n>
__device__ inline void wait_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
}

/// Two floats rounded to 16 bits, the first in the lower half.
template <typename T>
__device__ inline uint32_t pack(float low, float high) {
  uint32_t word;
  if constexpr (__is_same(T, __half)) {
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  } else {
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  }
  return word;
}

__device__ inline float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ inline void store_shared(uint32_t address, uint32_t word) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(address), "r"(word) : "memory");
}

__device__ inline void load_pair(float (&pair)[2], uint32_t address) {
  asm volatile("ld.shared.v2.f32 {%0,%1}, [%2];" : "=f"(pair[0]), "=f"(pair[1]) : "r"(address));
}

__device__ inline void load_pair(uint32_t (&pair)[2], uint32_t address) {
  asm volatile("ld.shared.v2.b32 {%0,%1}, [%2];"
               : "=r"(pair[0]), "=r"(pair[1])
               : "r"(address)
               : "memory");
}

/// Adds without returning the old value.
__device__ inline void add_global(float* to, const float (&value)[4]) {
#if __CUDA_ARCH__ >= 900
  asm volatile("red.global.add.v4.f32 [%0], {%1,%2,%3,%4};" ::"l"(to), "f"(value[0]), "f"(value[1]),
               "f"(value[2]), "f"(value[3])
               : "memory");
#else
  for (int i = 0; i < 4; ++i) atomicAdd(to + i, value[i]);
#endif
}

/// A tile in shared memory with rows of `kColumns` elements.
template <int kColumns>
struct TileLayout {
  static constexpr int kPitch = kColumns * 2;  // bytes
  static constexpr int kChunks = kColumns / 8;
  static_assert(kPitch == 64 || kPitch % 128 == 0, "the swizzle needs rows of 64 or 128 · n bytes");

  __device__ static uint32_t at(int row, int chunk) {
    const int swizzle = kPitch == 64 ? row / 2 & 3 : row & 7;
    return static_cast<uint32_t>(row * kPitch + ((chunk ^ swizzle) << 4));
  }
};

/// From a lane's address at chunk 0 or 1 of a row to the address 2·step chunks further.
__device__ inline uint32_t advance(uint32_t address, int step) {
  return (address ^ static_cast<uint32_t>((step & 3) << 5)) +
         static_cast<uint32_t>((step >> 2) << 7);
}

/// Where a lane begins when fragments are read from a tile, relative to the tile's start. All take
/// `advance(…, step)` along the tile's columns and whole multiples of 8 rows along its rows.
template <int kColumns>
struct LaneOffset {
  using Layout = TileLayout<kColumns>;
  /// A (16 rows × 16) of a tile [m][k]; B (16 k × 16 n, two n8 tiles) of a tile [k][n], transposed.
  __device__ static uint32_t rows16(int lane) { return Layout::at(lane & 15, lane >> 4); }
  /// B (16 k × 16 n) of a tile [n][k]; A (16 rows × 16) of a tile [k][m], transposed.
  __device__ static uint32_t rows8(int lane) {
    return Layout::at((lane & 7) + ((lane >> 4) << 3), (lane >> 3) & 1);
  }
};

/// s[m][n] = Σ_e a[m][e] · b[n][e] for kM × kN fragments of 16 × 8; addresses as rows16 and rows8.
template <typename T, int kColumns, int kM, int kN>
__device__ inline void multiply_rows(float (&s)[kM][kN][4], uint32_t a_rows, uint32_t b_rows) {
  constexpr int kPitch = TileLayout<kColumns>::kPitch;
#pragma unroll
  for (int m = 0; m < kM; ++m) {
#pragma unroll
    for (int n = 0; n < kN; ++n) {
#pragma unroll
      for (int i = 0; i < 4; ++i) s[m][n][i] = 0;
    }
  }
#pragma unroll
  for (int step = 0; step < kColumns / 16; ++step) {
    uint32_t a[kM][4];
#pragma unroll
    for (int m = 0; m < kM; ++m) load_matrices(a[m], advance(a_rows, step) + m * 16 * kPitch);
#pragma unroll
    for (int n = 0; n < kN; n += 2) {
      uint32_t b[4];
      load_matrices(b, advance(b_rows, step) + n * 8 * kPitch);
#pragma unroll
      for (int m = 0; m < kM; ++m) {
        multiply<T>(s[m][n], a[m], b[0], b[1]);
        multiply<T>(s[m][n + 1], a[m], b[2], b[3]);
      }
    }
  }
}

/// sum[m][n] += a[m] · b for one step of 16 rows of the tile b [k][n]; b_rows as rows16.
template <typename T, int kM, int kN>
__device__ inline void multiply_step(float (&sum)[kM][kN][4], const uint32_t (&a)[kM][4],
                                     uint32_t b_rows, int first_step) {
#pragma unroll
  for (int n = 0; n < kN; n += 2) {
    uint32_t b[4];
    load_matrices_transposed(b, advance(b_rows, first_step + n / 2));
#pragma unroll
    for (int m = 0; m < kM; ++m) {
      multiply<T>(sum[m][n], a[m], b[0], b[1]);
      multiply<T>(sum[m][n + 1], a[m], b[2], b[3]);
    }
  }
}

}  // namespace heddle::attention::cuda::sm80
