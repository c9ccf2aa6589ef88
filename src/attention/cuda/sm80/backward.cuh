// Backward of attention with mma.sync: one block a (sequence, key/value head, key tile), over the
// live query tiles of the mask and the query heads of the group (FlashAttention-2, arXiv
// 2307.08691).
//
//   Sᵀ = K Qᵀ,  Pᵀ = exp(Sᵀ − lse),  dPᵀ = V dOᵀ,  dSᵀ = Pᵀ ∘ (dPᵀ − Δ)     [keys, rows]
//   dV += Pᵀ dO,  dK += dSᵀ Q  in registers;  dQ = dS K  added to f32 sums in memory
//
// The transposed products leave Pᵀ and dSᵀ in the registers of the warp that needs them next: a
// warp computes 32 (or 16) keys × one part of the rows, and owns the same keys × one part of E of
// dK and dV. Only the other parts' Pᵀ and dSᵀ come through shared memory. What the mask hides is
// selected away from P and dS, never multiplied.
#pragma once

#include "heddle/attention/cuda/sm80/block.cuh"
#include "heddle/attention/cuda/tiles.h"

namespace heddle::attention::cuda::sm80 {

template <typename Element, int kHeadDim, Tile kShape, bool kHasOptions>
struct BackwardTraits {
  using T = Element;
  static constexpr int kE = kHeadDim;
  static constexpr int kRows = kShape.rows, kKeys = kShape.keys;
  static constexpr int kWarps = kShape.warps, kThreads = kWarps * 32;
  static constexpr int kStages = kShape.stages, kBlocks = kShape.blocks;
  static constexpr bool kOptions = kHasOptions;
  static constexpr int kM = kKeys >= 64 ? 2 : 1;        // 16-key fragments a warp
  static constexpr int kKeyGroups = kKeys / (16 * kM);  // of warps
  static constexpr int kParts =
      kWarps / kKeyGroups;                          // of the rows for S and dP, of E for dK and dV
  static constexpr int kN = kRows / kParts / 8;     // 8-row fragments a warp
  static constexpr int kOwnSteps = kN / 2;          // 16-row steps that the warp's own part holds
  static constexpr int kColumns = kE / kParts / 8;  // 8-wide fragments of dK and dV a warp
  // dQ: a warp takes 32 rows × a part of E.
  static constexpr int kRowGroups = kRows / 32;
  static constexpr int kQueryColumns = kE / (kWarps / kRowGroups) / 8;
  static constexpr uint32_t kPitch = TileLayout<kE>::kPitch;
  static constexpr uint32_t kScorePitch = TileLayout<kRows>::kPitch;
  static constexpr uint32_t kKeyBytes = kKeys * kPitch, kRowBytes = kRows * kPitch;
  static constexpr uint32_t kScoreBytes = kKeys * kScorePitch;
  // Shared memory: K, V, stages of Q and dO, Pᵀ, dSᵀ, stages of lse and Δ, the key tile's bounds.
  static constexpr uint32_t kValuesAt = kKeyBytes;
  static constexpr uint32_t kQueriesAt = kValuesAt + kKeyBytes;
  static constexpr uint32_t kGradientsAt = kQueriesAt + kStages * kRowBytes;
  static constexpr uint32_t kProbabilitiesAt = kGradientsAt + kStages * kRowBytes;
  static constexpr uint32_t kScoresAt = kProbabilitiesAt + kScoreBytes;
  static constexpr uint32_t kLseAt = kScoresAt + kScoreBytes;
  static constexpr uint32_t kDeltaAt = kLseAt + kStages * kRows * 4;
  static constexpr uint32_t kBoundsAt = kDeltaAt + kStages * kRows * 4;
  static constexpr uint32_t kSharedBytes = kBoundsAt + kKeys * sizeof(ColumnBounds);
  // dQ's sums: [batches, heads, query tiles] of one tile's fragments, in the order of the threads.
  static constexpr int kSumsPerTile = kRows * kE;
};

/// Which keys of the tile, and which part of the rows and of E, are this thread's warp's.
/// Made anew where it is used: the loop has no register to keep addresses in.
template <typename Traits>
struct WarpPlace {
  int lane, key, part;

  __device__ WarpPlace() {
    const int thread = fresh_thread(), warp = thread / 32;
    lane = thread % 32;
    key = warp % Traits::kKeyGroups * 16 * Traits::kM;
    part = warp / Traits::kKeyGroups;
  }

  /// First row of the part.
  __device__ int row() const { return part * (Traits::kRows / Traits::kParts); }
  /// This lane's address in the warp's rows of a tile of K or V.
  __device__ uint32_t keys(uint32_t tile) const {
    return tile + key * Traits::kPitch + LaneOffset<Traits::kE>::rows16(lane);
  }
  /// The same in the part's rows of a stage of Q or dO.
  __device__ uint32_t rows(uint32_t tiles, int stage) const {
    return tiles + stage * Traits::kRowBytes + row() * Traits::kPitch +
           LaneOffset<Traits::kE>::rows8(lane);
  }
  /// The same in a stage of lse or Δ.
  __device__ uint32_t values(uint32_t all, int stage) const {
    return all + (stage * Traits::kRows + row() + lane % 4 * 2) * 4;
  }
};

/// A live tile in one register.
class PackedTile {
 public:
  PackedTile() = default;
  __device__ PackedTile(LiveTile tile) : bits_(tile.index * 2 + (tile.partial ? 1 : 0)) {}
  __device__ bool exists() const { return bits_ >= 0; }
  __device__ int index() const { return bits_ >> 1; }
  __device__ bool partial() const { return (bits_ & 1) != 0; }

 private:
  int bits_;
};

/// The live query tiles of a key tile, once for each query head of the group.
struct QueryWalk {
  TileWalk walk;
  int head;

  __device__ QueryWalk(const BackwardLaunch& p, const Work& work)
      : walk(p.by_key, work.set, work.tile), head(work.head) {}

  __device__ LiveTile next(const BackwardLaunch& p, const Work& work) {
    LiveTile found = walk.next(p.by_key);
    if (found.index < 0 && ++head < work.head + p.problem.heads / p.problem.kv_heads) {
      walk = TileWalk(p.by_key, work.set, work.tile);
      found = walk.next(p.by_key);
    }
    return found;
  }
};

/// Starts copying a query tile of Q, dO, lse and Δ.
template <typename Traits>
__device__ inline void load_rows(const BackwardLaunch& p, int batch, int head, int tile,
                                 uint32_t shared, int stage) {
  using T = typename Traits::T;
  const int begin = tile * Traits::kRows, rows = p.problem.mask.query_length;
  copy_tile<Traits::kE, Traits::kRows, Traits::kThreads>(
      shared + Traits::kQueriesAt + stage * Traits::kRowBytes, head_rows<const T>(p.q, batch, head),
      p.q.row_stride, begin, rows, p.problem.head_dim);
  copy_tile<Traits::kE, Traits::kRows, Traits::kThreads>(
      shared + Traits::kGradientsAt + stage * Traits::kRowBytes,
      head_rows<const T>(p.d_out, batch, head), p.d_out.row_stride, begin, rows,
      p.problem.head_dim);
  const int thread = fresh_thread();
  if (thread < Traits::kRows) {
    const bool valid = begin + thread < rows;
    const int row = valid ? begin + thread : 0;
    const uint32_t at = (stage * Traits::kRows + thread) * 4;
    copy_async_4(shared + Traits::kLseAt + at, head_values(p.lse, batch, head) + row, valid);
    copy_async_4(shared + Traits::kDeltaAt + at, head_values(p.delta, batch, head) + row, valid);
  }
}

/// Starts copying the block's K, V and bounds.
template <typename Traits>
__device__ inline void load_key_tile(const BackwardLaunch& p, const Work& work, uint32_t shared) {
  using T = typename Traits::T;
  const int begin = work.tile * Traits::kKeys, keys = p.problem.mask.key_length;
  copy_tile<Traits::kE, Traits::kKeys, Traits::kThreads>(
      shared, head_rows<const T>(p.k, work.batch, work.kv_head), p.k.row_stride, begin, keys,
      p.problem.head_dim);
  copy_tile<Traits::kE, Traits::kKeys, Traits::kThreads>(
      shared + Traits::kValuesAt, head_rows<const T>(p.v, work.batch, work.kv_head), p.v.row_stride,
      begin, keys, p.problem.head_dim);
  const int thread = static_cast<int>(threadIdx.x);
  if (thread < Traits::kKeys) {
    const bool valid = begin + thread < keys;
    const ColumnBounds* bounds = p.problem.mask.bounds + static_cast<int64_t>(work.set) * keys +
                                 (valid ? begin + thread : 0);
    copy_async_16(shared + Traits::kBoundsAt + thread * 16, bounds, valid);
  }
}

/// Sᵀ to Pᵀ in place; with options, times dx / d(scale · q·k) in `s` and without it in `p`.
/// `row` and `key` are those of this lane's first element.
template <typename Traits>
__device__ inline void probabilities(float (&s)[Traits::kM][Traits::kN][4],
                                     uint32_t (&packed)[Traits::kM][Traits::kN][2],
                                     const Problem& problem, const ScoreOptions& options,
                                     uint32_t lse, int row, int key) {
  const float factor = problem.scale * kLog2E;
#pragma unroll
  for (int n = 0; n < Traits::kN; ++n) {
    float row_lse[2];
    load_pair(row_lse, lse + n * 32);
#pragma unroll
    for (int m = 0; m < Traits::kM; ++m) {
      float p[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        float slope = 1, x = s[m][n][i] * factor;
        if constexpr (Traits::kOptions) {
          x = options.apply(s[m][n][i], row + n * 8 + i % 2, key + m * 16 + i / 2 * 8, slope);
        }
        p[i] = exp2_fast(x - row_lse[i % 2] * kLog2E);
        s[m][n][i] = Traits::kOptions ? p[i] * slope : p[i];
      }
      packed[m][n][0] = pack<typename Traits::T>(p[0], p[1]);
      packed[m][n][1] = pack<typename Traits::T>(p[2], p[3]);
    }
  }
}

/// dSᵀ = P · (dP − Δ), packed.
template <typename Traits>
__device__ inline void score_gradients(const float (&s)[Traits::kM][Traits::kN][4],
                                       const float (&dp)[Traits::kM][Traits::kN][4],
                                       uint32_t (&packed)[Traits::kM][Traits::kN][2],
                                       uint32_t delta) {
#pragma unroll
  for (int n = 0; n < Traits::kN; ++n) {
    float row_delta[2];
    load_pair(row_delta, delta + n * 32);
#pragma unroll
    for (int m = 0; m < Traits::kM; ++m) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        packed[m][n][r] =
            pack<typename Traits::T>(s[m][n][2 * r] * (dp[m][n][2 * r] - row_delta[0]),
                                     s[m][n][2 * r + 1] * (dp[m][n][2 * r + 1] - row_delta[1]));
      }
    }
  }
}

/// Zeroes what the mask hides in packed Pᵀ and dSᵀ: selected, as hidden numbers may be NaN. `row`
/// and `key` are the first of the warp's part; `bounds` are those of its keys.
template <typename Traits>
__device__ inline void hide_pairs(uint32_t (&packed_p)[Traits::kM][Traits::kN][2],
                                  uint32_t (&packed_ds)[Traits::kM][Traits::kN][2],
                                  const DeviceColumns& mask, uint32_t bounds, int row, int key) {
  constexpr int kGroups = Traits::kM * 2;  // 8-key groups: the four lanes of a key share the work
  const int lane = fresh_thread() % 32, own = lane % kGroups * 8 + lane / 4;
  const MaskColumn column = mask_column(mask, load_bounds(bounds + own * 16), key + own);
#pragma unroll
  for (int first = 0; first < Traits::kN; first += 4) {
    const int begin = row + first * 8;
    const uint32_t word = visible_word(column, begin) & ~rows_from(mask.query_length - begin);
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      const uint32_t rows = __shfl_sync(0xffffffffu, word, (lane & 28) + group) >> (lane % 4 * 2);
      const int m = group / 2, r = group % 2;
#pragma unroll
      for (int n = first; n < first + 4 && n < Traits::kN; ++n) {
        const uint32_t keep = keep_pair(rows, n - first);
        packed_p[m][n][r] &= keep;
        packed_ds[m][n][r] &= keep;
      }
    }
  }
}

/// Writes packed 16-bit pairs of this warp's part of Pᵀ or dSᵀ to its tile [keys][rows].
template <typename Traits>
__device__ inline void share(uint32_t tile, const uint32_t (&packed)[Traits::kM][Traits::kN][2]) {
  const WarpPlace<Traits> place;
#pragma unroll
  for (int m = 0; m < Traits::kM; ++m) {
#pragma unroll
    for (int n = 0; n < Traits::kN; ++n) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const uint32_t at = TileLayout<Traits::kRows>::at(
            place.key + m * 16 + r * 8 + place.lane / 4, place.part * Traits::kN + n);
        store_shared(tile + at + place.lane % 4 * 4, packed[m][n][r]);
      }
    }
  }
}

/// sum += own part of Pᵀ (or dSᵀ) · the same rows of dO (or Q), this warp's part of E.
template <typename Traits>
__device__ inline void add_own(float (&sum)[Traits::kM][Traits::kColumns][4],
                               const uint32_t (&packed)[Traits::kM][Traits::kN][2], uint32_t rows) {
  const WarpPlace<Traits> place;
  const uint32_t steps = rows + LaneOffset<Traits::kE>::rows16(place.lane);
#pragma unroll
  for (int step = 0; step < Traits::kOwnSteps; ++step) {
    uint32_t a[Traits::kM][4];
#pragma unroll
    for (int m = 0; m < Traits::kM; ++m) {
      a[m][0] = packed[m][2 * step][0];
      a[m][1] = packed[m][2 * step][1];
      a[m][2] = packed[m][2 * step + 1][0];
      a[m][3] = packed[m][2 * step + 1][1];
    }
    const int at = place.part * Traits::kOwnSteps + step;
    multiply_step<typename Traits::T>(sum, a, steps + at * 16 * Traits::kPitch,
                                      place.part * Traits::kColumns / 2);
  }
}

/// The same for the parts of the other warps with these keys, from the shared tile.
template <typename Traits>
__device__ inline void add_others(float (&sum)[Traits::kM][Traits::kColumns][4], uint32_t tile,
                                  uint32_t rows) {
  const WarpPlace<Traits> place;
  const uint32_t steps = rows + LaneOffset<Traits::kE>::rows16(place.lane);
  const uint32_t scores =
      tile + place.key * Traits::kScorePitch + LaneOffset<Traits::kRows>::rows16(place.lane);
#pragma unroll
  for (int i = 1; i < Traits::kParts; ++i) {
    const int other = (place.part + i) % Traits::kParts;
#pragma unroll
    for (int step = 0; step < Traits::kOwnSteps; ++step) {
      const int at = other * Traits::kOwnSteps + step;
      uint32_t a[Traits::kM][4];
#pragma unroll
      for (int m = 0; m < Traits::kM; ++m) {
        load_matrices(a[m], advance(scores, at) + m * 16 * Traits::kScorePitch);
      }
      multiply_step<typename Traits::T>(sum, a, steps + at * 16 * Traits::kPitch,
                                        place.part * Traits::kColumns / 2);
    }
  }
}

/// dQ of the tile: dS [rows, keys] · K, 32 rows × a part of E a warp, added to the sums in memory.
template <typename Traits>
__device__ inline void add_queries(float* sums, uint32_t shared) {
  const int thread = fresh_thread(), warp = thread / 32, lane = thread % 32;
  const int rows = warp % Traits::kRowGroups, part = warp / Traits::kRowGroups;
  const uint32_t scores = shared + Traits::kScoresAt + LaneOffset<Traits::kRows>::rows8(lane);
  const uint32_t keys = shared + LaneOffset<Traits::kE>::rows16(lane);
  float sum[2][Traits::kQueryColumns][4] = {};
#pragma unroll
  for (int step = 0; step < Traits::kKeys / 16; ++step) {
    uint32_t a[2][4];
#pragma unroll
    for (int m = 0; m < 2; ++m) {
      load_matrices_transposed(a[m],
                               advance(scores, rows * 2 + m) + step * 16 * Traits::kScorePitch);
    }
    multiply_step<typename Traits::T>(sum, a, keys + step * 16 * Traits::kPitch,
                                      part * Traits::kQueryColumns / 2);
  }
  float* to = sums + warp * (Traits::kSumsPerTile / Traits::kWarps) + lane * 4;
#pragma unroll
  for (int m = 0; m < 2; ++m) {
#pragma unroll
    for (int n = 0; n < Traits::kQueryColumns; ++n) {
      add_global(to + (m * Traits::kQueryColumns + n) * 128, sum[m][n]);
    }
  }
}

}  // namespace heddle::attention::cuda::sm80
