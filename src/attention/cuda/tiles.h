// Tile shapes of the kernels, by GPU family, head dimension and direction; the reason beside each.
#pragma once

#include <cstdint>

namespace heddle::attention::cuda {

/// `query_gradient`: dQ by itself, for the deterministic backward of family 80.
enum class Direction { forward, backward, query_gradient };

/// What a block may have: 99 KB on 8.6, 8.9 and 12.0; 163 on 8.0 and 8.7; 227 on 9.0 and 10.0.
enum class SharedMemory { kb99, kb163, kb227 };

constexpr SharedMemory shared_memory_class(int64_t bytes) {
  return bytes >= 227 << 10   ? SharedMemory::kb227
         : bytes >= 163 << 10 ? SharedMemory::kb163
                              : SharedMemory::kb99;
}

/// The same from a compute capability, major × 10 + minor.
constexpr SharedMemory shared_memory_by_capability(int compute_capability) {
  return compute_capability == 90 || compute_capability / 10 == 10 ? SharedMemory::kb227
         : compute_capability == 80 || compute_capability == 87    ? SharedMemory::kb163
                                                                   : SharedMemory::kb99;
}

/// The head dimension that a kernel is compiled for: the next of 64, 128, 256.
constexpr int padded_head_dim(int head_dim) {
  return head_dim <= 64 ? 64 : head_dim <= 128 ? 128 : 256;
}

struct Tile {
  int rows;  // queries
  int keys;
  int warps;
  int stages;  // tiles of the streamed operands in shared memory
  int blocks;  // blocks that should fit a multiprocessor: the register limit
};

/// Families: 80 (mma.sync), 90 (wgmma; `warps` are those that multiply). All sizes of shared memory
/// below are for 16-bit elements.
constexpr Tile tile(int family, int head_dim, Direction direction,
                    SharedMemory memory = SharedMemory::kb227) {
  if (family == 90 && direction == Direction::forward) {
    // 64 rows a warpgroup; one block, as the registers of its sums and scores fill a
    // multiprocessor.
    if (head_dim == 64) return {192, 128, 12, 2, 1};  // 118 KB; exponentials need a third
    if (head_dim == 128) return {128, 128, 8, 2, 1};  // 197 KB
    return {128, 64, 8, 2, 1};                        // 195 KB
  }
  if (family == 90) {
    // 64 keys a warpgroup, whose dK and dV stay in registers.
    if (head_dim == 64) return {128, 128, 8, 2, 1};  // 196 KB
    if (head_dim == 128) return {64, 128, 8, 2, 1};  // 196 KB
    return {64, 64, 8, 2, 1};                        // 227 KB; a warpgroup has half of the columns
  }
  if (direction == Direction::forward) {
    // 32 rows a warp: each K and V fragment read from shared memory feeds two multiplications. One
    // stage where that lets two blocks share a multiprocessor: the other block hides the copies.
    if (head_dim == 64) return {128, 64, 4, 2, 2};   // 51 KB; 255 registers beat a third block
    if (head_dim == 128) return {128, 64, 4, 1, 2};  // 66 KB
    return {64, 64, 4, 1, 2};  // 98 KB; 16 rows a warp, as the sums alone take 128 registers
  }
  if (direction == Direction::query_gradient) {
    // 16 rows a warp.
    if (head_dim == 64) return {128, 64, 8, 2, 1};  // 68 KB
    if (head_dim == 128) {
      if (memory == SharedMemory::kb99) return {128, 64, 8, 1, 1};  // 99 KB
      return {128, 64, 8, 2, 1};                                    // 132 KB
    }
    if (memory == SharedMemory::kb99) return {64, 32, 4, 1, 1};   // 97 KB
    if (memory == SharedMemory::kb163) return {64, 64, 4, 1, 1};  // 130 KB
    return {64, 64, 4, 2, 1};                                     // 195 KB
  }
  // dK and dV stay in registers: 32 keys (16 in tiles of 32 keys) × a part of E a warp.
  if (head_dim == 64) return {64, 64, 4, 2, 3};  // 66 KB; three blocks hide each other's barriers
  if (head_dim == 128) {
    if (memory == SharedMemory::kb99) return {64, 64, 4, 1, 1};  // 82 KB
    return {64, 128, 8, 2, 1};                                   // 163 KB, all that 8.0 has
  }
  if (memory == SharedMemory::kb99) return {32, 32, 4, 1, 1};   // 69 KB
  if (memory == SharedMemory::kb163) return {64, 64, 8, 1, 1};  // 146 KB
  return {64, 64, 8, 2, 1};                                     // 211 KB; 4 parts of E
}

}  // namespace heddle::attention::cuda
