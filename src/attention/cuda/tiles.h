// Tile shapes of the kernels, by GPU family, head dimension and direction; the reason beside each.
#pragma once

namespace heddle::attention::cuda {

enum class Direction { forward, backward };

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

/// Families: 80 (mma.sync), 90 (wgmma: forward only; `warps` are those that multiply). All sizes of shared memory below are for 16-bit elements.
constexpr Tile tile(int family, int head_dim, Direction direction) {
  if (family == 90 && direction == Direction::forward) {
    // 64 rows a warpgroup; one block, as the registers of its sums and scores fill a multiprocessor.
#ifdef X_D64
    if (head_dim == 64) return {128, 128, 8, 2, 1};
#endif
    if (head_dim == 64) return {192, 128, 12, 2, 1};  // 112 KB; a third warpgroup hides exponentials
    if (head_dim == 128) return {128, 128, 8, 2, 1};  // 192 KB
    return {128, 64, 8, 2, 1};                        // 192 KB
  }
  if (direction == Direction::forward) {
    // 32 rows a warp: each K and V fragment read from shared memory feeds two multiplications.
    if (head_dim == 64) return {128, 64, 4, 2, 3};   // 48 KB, 160 registers
    if (head_dim == 128) return {128, 64, 4, 2, 2};  // 96 KB, 255 registers
    return {64, 64, 4, 2, 1};  // 160 KB; 16 rows a warp, as the sums alone take 128 registers
  }
  // dK and dV stay in registers: 32 keys × a part of E a warp.
  if (head_dim == 64) return {64, 128, 8, 2, 1};   // 96 KB
  if (head_dim == 128) return {64, 128, 8, 2, 1};  // 160 KB
  return {64, 64, 8, 2, 1};                        // 208 KB; 4 parts of E
}

}  // namespace heddle::attention::cuda
