// Hopper's instructions that CUDA C++ does not spell, one function each: barriers in shared memory
// (mbarrier), bulk tensor copies (TMA), named barriers, register budgets, matrix-unit fences.
//
// Names follow the PTX manual; addresses of shared memory are 32-bit, as PTX wants them.
#pragma once

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#ifdef HEDDLE_DIAGNOSE_HANGS
#include <cstdio>
#endif

namespace heddle::attention::cuda::sm90 {

__device__ __forceinline__ uint32_t shared_address(const void* pointer) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(pointer));
}

// ---- Barriers in shared memory -----------------------------------------------------------------

using Barrier = uint64_t;

__device__ __forceinline__ void init(Barrier& barrier, int arrivals) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(&barrier)), "r"(arrivals));
}

/// Makes fresh barriers visible to the copy engine.
__device__ __forceinline__ void fence_barrier_init() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

__device__ __forceinline__ void arrive(Barrier& barrier) {
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(&barrier)) : "memory");
}

/// Arrives, and lets the phase end only after this many more bytes were copied.
__device__ __forceinline__ void arrive_expect(Barrier& barrier, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(shared_address(&barrier)),
               "r"(bytes)
               : "memory");
}

#ifdef HEDDLE_DIAGNOSE_HANGS
__device__ int waits_given_up = 0;

/// For finding a deadlock: says which wait does not end, then lets everything run on.
__device__ __noinline__ void wait(Barrier& barrier, uint32_t parity) {
  const long long start = clock64();
  for (uint32_t done = 0; done == 0;) {
    asm volatile(
        "{\n.reg .pred p;\nmbarrier.try_wait.parity.shared.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(done)
        : "r"(shared_address(&barrier)), "r"(parity)
        : "memory");
    const bool others = *reinterpret_cast<volatile int*>(&waits_given_up) != 0;
    if (done == 0 && clock64() - start > (others ? 100000 : 2000000000ll)) {
      if (atomicAdd(&waits_given_up, 1) < 400) {
        printf("block %d thread %d: barrier at %u, parity %u\n", blockIdx.x, threadIdx.x,
               shared_address(&barrier), parity);
      }
      return;
    }
  }
}
#else
/// Waits until the phase of this parity has ended.
__device__ __forceinline__ void wait(Barrier& barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred p;\n"
      "AGAIN%=: mbarrier.try_wait.parity.shared.b64 p, [%0], %1;\n"
      "@p bra DONE%=;\nbra AGAIN%=;\nDONE%=:\n}" ::"r"(shared_address(&barrier)),
      "r"(parity)
      : "memory");
}
#endif

/// A place in a ring of buffers. A reader waits for parity `phase` of the slot's "full" barrier, a
/// writer for parity `phase ^ 1` of its "empty" barrier: a fresh ring is empty.
template <int kSlots>
struct Ring {
  int slot = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ void advance() {
    if (++slot == kSlots) {
      slot = 0;
      phase ^= 1;
    }
  }
};

// ---- Named barriers: groups of warps within a block --------------------------------------------

__device__ __forceinline__ void named_sync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

__device__ __forceinline__ void named_arrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

// ---- Register budgets, for the whole warpgroup -------------------------------------------------

template <int kRegisters>
__device__ __forceinline__ void give_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

template <int kRegisters>
__device__ __forceinline__ void take_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// ---- Bulk tensor copies ------------------------------------------------------------------------

/// What L2 should do with the lines of a copy: the encodings that `createpolicy` gives for a whole
/// access.
enum class Keep : uint64_t { first_out = 0x12F0000000000000, last_out = 0x14F0000000000000 };

__device__ __forceinline__ void prefetch(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

struct Coordinates {
  int column, token, head, batch;
};

/// Global → shared, one box of the map; completes on the barrier. Outside the tensor reads zero.
__device__ __forceinline__ void load_tile(void* to, const CUtensorMap& map, Coordinates at,
                                          Barrier& barrier, Keep keep) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint"
      " [%0], [%1, {%3, %4, %5, %6}], [%2], %7;" ::"r"(shared_address(to)),
      "l"(&map), "r"(shared_address(&barrier)), "r"(at.column), "r"(at.token), "r"(at.head),
      "r"(at.batch), "l"(keep)
      : "memory");
}

/// Shared → global, one box of the map. Outside the tensor nothing is written.
__device__ __forceinline__ void store_tile(const CUtensorMap& map, Coordinates at,
                                           const void* from) {
  asm volatile(
      "cp.async.bulk.tensor.4d.global.shared::cta.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(
          &map),
      "r"(shared_address(from)), "r"(at.column), "r"(at.token), "r"(at.head), "r"(at.batch)
      : "memory");
}

/// Global → shared, `bytes` in a row; both ends and the length are multiples of 16 bytes.
__device__ __forceinline__ void load_bulk(void* to, const void* from, int bytes, Barrier& barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::
          "r"(shared_address(to)),
      "l"(from), "r"(bytes), "r"(shared_address(&barrier))
      : "memory");
}

/// Adds floats in shared memory to floats in global memory, `bytes` in a row.
__device__ __forceinline__ void add_bulk(float* to, const float* from, int bytes) {
  asm volatile(
      "cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(to),
      "r"(shared_address(from)), "r"(bytes)
      : "memory");
}

/// Adds four floats to those in global memory, in no order of threads.
__device__ __forceinline__ void add_four(float* to, float a, float b, float c, float d) {
  asm volatile("red.relaxed.gpu.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(a),
               "f"(b), "f"(c), "f"(d)
               : "memory");
}

__device__ __forceinline__ void commit_stores() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/// Until this thread's bulk stores have read their shared memory.
__device__ __forceinline__ void wait_stores_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}

/// Until this thread's bulk stores are in memory.
__device__ __forceinline__ void wait_stores() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

/// Ordinary stores to shared memory before this, or before what this thread has waited for, are
/// seen by the copy engine and the matrix unit.
__device__ __forceinline__ void fence_shared_async() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/// Orders ordinary accesses to any memory, before and after this, with those of the copy engine.
__device__ __forceinline__ void fence_async() { asm volatile("fence.proxy.async;" ::: "memory"); }

__device__ __forceinline__ uint32_t load_acquire(const uint32_t* from) {
  uint32_t value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(from) : "memory");
  return value;
}

__device__ __forceinline__ void add_release(uint32_t* to, uint32_t value) {
  asm volatile("red.release.gpu.global.add.u32 [%0], %1;" ::"l"(to), "r"(value) : "memory");
}

// ---- The matrix unit ---------------------------------------------------------------------------

__device__ __forceinline__ void matrix_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

__device__ __forceinline__ void matrix_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/// Until at most kPending committed groups of products are unfinished.
template <int kPending>
__device__ __forceinline__ void matrix_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

/// Describes an operand in shared memory under the 128-byte swizzle: its start, the stride between
/// blocks of 64 columns (unused with the sum's axis innermost), and 1024 bytes between groups of
/// eight 128-byte rows.
__device__ __forceinline__ uint64_t operand(uint32_t address, int block_stride) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kGroupStride = uint64_t{1024 >> 4} << 32;
  return kSwizzle128 | kGroupStride | (uint64_t(block_stride >> 4) << 16) |
         uint64_t((address & 0x3FFFF) >> 4);
}

/// The operand that begins `bytes` later in the same buffer, a multiple of 16. Only the low word
/// changes, which saves an instruction a product.
__device__ __forceinline__ uint64_t advance(uint64_t operand, int bytes) {
  return (operand & 0xffffffff00000000) |
         static_cast<uint32_t>(static_cast<uint32_t>(operand) + static_cast<uint32_t>(bytes >> 4));
}

/// Four 8×8 matrices of 16-bit elements to shared memory; lane i gives the address of row i % 8 of
/// matrix i / 8 and holds two elements of each matrix.
__device__ __forceinline__ void store_matrices(uint32_t address, const uint32_t (&words)[4]) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address),
               "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3])
               : "memory");
}

/// Ties the registers of a sum to this place: what reads them stays behind the wait before it.
template <int kCount>
__device__ __forceinline__ void pin(float (&sum)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+f"(sum[i])::"memory");
}

/// Four 8×8 matrices from shared memory; addresses and words as in store_matrices.
__device__ __forceinline__ void load_matrices(uint32_t (&words)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
               : "r"(address)
               : "memory");
}

/// The same value, which all lanes hold, in a way that lets the compiler know. A matrix product
/// inside a branch on anything else is taken for divergent, and then the compiler serialises it.
__device__ __forceinline__ int uniform(int value) { return __shfl_sync(0xffffffffu, value, 0); }

/// threadIdx.x, read from its special register here and now: what follows from it is not kept in
/// registers through a loop.
__device__ __forceinline__ int thread_index() {
  int index;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(index));
  return index;
}

// ---- Arithmetic --------------------------------------------------------------------------------

__device__ __forceinline__ float exp2_fast(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float reciprocal_fast(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/// Two floats rounded to the 16-bit type, the first in the low half.
template <typename Element>
__device__ __forceinline__ uint32_t pack(float low, float high);

template <>
__device__ __forceinline__ uint32_t pack<__nv_bfloat16>(float low, float high) {
  uint32_t word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

template <>
__device__ __forceinline__ uint32_t pack<__half>(float low, float high) {
  uint32_t word;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
}

/// What pack made, in single precision.
template <typename Element>
__device__ __forceinline__ float2 unpack(uint32_t word);

template <>
__device__ __forceinline__ float2 unpack<__nv_bfloat16>(uint32_t word) {
  return make_float2(__uint_as_float(word << 16), __uint_as_float(word & 0xffff0000u));
}

template <>
__device__ __forceinline__ float2 unpack<__half>(uint32_t word) {
  return __half22float2(*reinterpret_cast<const __half2*>(&word));
}

/// A word whose lowest `count` bits are set; count <= 0 gives none, count >= 32 all.
__device__ __forceinline__ uint32_t low_bits(int count) {
  uint32_t word;
  asm("bmsk.clamp.b32 %0, 0, %1;" : "=r"(word) : "r"(max(count, 0)));
  return word;
}

}  // namespace heddle::attention::cuda::sm90
