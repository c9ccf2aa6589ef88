// The consuming warpgroups of the forward: 64 query rows each.
#pragma once

#include "heddle/attention/cuda/sm90/forward_shape.cuh"
#include "heddle/attention/cuda/sm90/softmax.cuh"
#include "heddle/attention/cuda/sm90/wgmma.cuh"

namespace heddle::attention::cuda::sm90 {

/// The left operand of Q·Kᵀ. In registers, where there are enough: then the products read less
/// shared memory, and the next queries can come early.
template <typename Shape>
struct Queries {
  static constexpr int kSteps = Shape::kHeadDim / 16;
  uint64_t shared;
  uint32_t words[Shape::kQueriesInRegisters ? kSteps : 1][4];

  /// Takes 64 rows that lie in shared memory in the layout of a tile.
  __device__ __forceinline__ explicit Queries(uint32_t address, int warp, int lane)
      : shared(operand(address, 16)) {
    if constexpr (Shape::kQueriesInRegisters) {
      const int row = warp * 16 + lane % 16;  // the one whose address this lane gives
#pragma unroll
      for (int step = 0; step < kSteps; ++step) {
        const int chunk = 2 * step + lane / 16;  // 16 bytes: 8 columns
        load_matrices(words[step], address + (chunk / 8) * 64 * 128 + row * 128 +
                                       ((chunk % 8) ^ (row % 8)) * 16);
      }
    }
  }
};

/// Issues scores[64 × keys] = Q[64 × E] · K[keys × E]ᵀ.
template <typename Shape>
__device__ __forceinline__ void issue_scores(float (&scores)[Shape::kKeys / 2],
                                             const Queries<Shape>& q, uint64_t k) {
  using Product = Wgmma<typename Shape::Element, Shape::kKeys>;
  matrix_fence();
#pragma unroll
  for (int step = 0; step < Shape::kHeadDim / 16; ++step) {
    const int block = step / 4, within = (step % 4) * 32;  // 16 columns are 32 bytes
    const uint64_t keys = advance(k, block * Shape::kKeys * 128 + within);
    if constexpr (Shape::kQueriesInRegisters) {
      Product::template rs<0>(scores, q.words[step], keys, step != 0);
    } else {
      Product::template ss<0, 0>(scores, advance(q.shared, block * 64 * 128 + within), keys,
                                 step != 0);
    }
  }
  matrix_commit();
}

/// Issues out[64 × E] += P[64 × keys] · V[keys × E].
template <typename Shape>
__device__ __forceinline__ void issue_values(float (&out)[Shape::kHeadDim / 2],
                                             const uint32_t (&weights)[Shape::kKeys / 16][4],
                                             uint64_t v) {
  using Product = Wgmma<typename Shape::Element, Shape::kHeadDim>;
  matrix_fence();
#pragma unroll
  for (int step = 0; step < Shape::kKeys / 16; ++step) {
    Product::template rs<1>(out, weights[step], advance(v, step * 16 * 128), 1);
  }
  matrix_commit();
}

/// What one consumer warpgroup carries from tile to tile.
template <typename Shape>
struct ConsumerState {
  int consumer;
  Ring<2> works;
  Ring<Shape::kStages> stages;  // of the keys; the values follow one tile behind
  Ring<Shape::kMaskSlots> masks;
  uint32_t q_phase = 0;

  // Not members: registers are short.
  __device__ __forceinline__ static int warp() { return thread_index() / 32 % 4; }
  __device__ __forceinline__ static int lane() { return thread_index() % 32; }
};

/// Options and mask, then the softmax of one tile's scores. Gives whether the sums must shrink.
template <typename Shape>
__device__ __forceinline__ bool weigh(const ForwardParams& p, ForwardShared<Shape>& shared,
                                      ConsumerState<Shape>& self, const Work& work, LiveTile tile,
                                      float (&scores)[Shape::kKeys / 2], RowState& rows,
                                      float (&shrink)[2]) {
  const Problem& problem = p.launch.problem;
  if constexpr (Shape::kOptions) {
    // Everything read anew for each tile: registers are short.
    const volatile float* slopes = problem.alibi_slopes;
    const float slope = slopes == nullptr ? 0.0f : slopes[work.head];
    const int thread = thread_index() - 128;  // of the consumers
    const int32_t row = work.tile * Shape::kRows + thread / 32 * 16 + thread % 32 / 4;
    apply_options(scores, {problem.scale, problem.softcap, slope, problem.mask.offset}, row,
                  tile.tile * Shape::kKeys + 2 * (thread % 4));
  }
  if (tile.partial) {
    Barrier& full = shared.mask_full[self.consumer][self.masks.slot];
    wait(full, self.masks.phase);
    apply_mask_bits<Shape::kKeys>(scores, shared.mask[self.consumer][self.masks.slot], self.warp(),
                                  self.lane());
    arrive(shared.mask_empty[self.consumer][self.masks.slot]);
    self.masks.advance();
  }
  return exponentiate(scores, rows, Shape::kOptions ? 1.0f : problem.scale * kLog2E, shrink);
}

/// The tile whose keys lie in a stage; in registers that the compiler knows to be uniform.
template <typename Shape>
__device__ __forceinline__ LiveTile tile_of(const ForwardShared<Shape>& shared, int stage) {
  const LiveTile tile = shared.key_tile[stage];
  return {tile.tile, uniform(tile.partial) != 0};
}

/// All live tiles of one piece of work, at least one: out and rows hold sums, not yet divided.
template <typename Shape>
__device__ __forceinline__ void attend(const ForwardParams& p, ForwardShared<Shape>& shared,
                                       ConsumerState<Shape>& self, const Work& work, int live,
                                       float (&out)[Shape::kHeadDim / 2], RowState& rows) {
  using Element = typename Shape::Element;
  constexpr int kTileBytes = Shape::kKeys * Shape::kHeadDim * 2;
  const uint64_t k = operand(shared_address(shared.k[0]), 16);
  const uint64_t v = operand(shared_address(shared.v[0]), Shape::kKeys * 128);
  float scores[Shape::kKeys / 2];
  float shrink[2];
  uint32_t weights[Shape::kKeys / 16][4];

  wait(shared.q_full, self.q_phase);
  self.q_phase ^= 1;
  const Queries<Shape> q(shared_address(shared.q[self.consumer]), self.warp(), self.lane());
  if constexpr (Shape::kQueriesInRegisters) arrive_warp(shared.q_empty);
  wait(shared.k_full[self.stages.slot], self.stages.phase);
  issue_scores<Shape>(scores, q, advance(k, self.stages.slot * kTileBytes));
  const LiveTile first = tile_of(shared, self.stages.slot);
  matrix_wait<0>();
  arrive_warp(shared.k_empty[self.stages.slot]);
  weigh<Shape>(p, shared, self, work, first, scores, rows, shrink);
  to_operand<Element>(scores, weights);
  wait(shared.v_full[self.stages.slot], self.stages.phase);

#pragma unroll 1
  for (int32_t i = 1; i < live; ++i) {
    const int values = self.stages.slot;
    self.stages.advance();
    const int stage = self.stages.slot;
    wait(shared.k_full[stage], self.stages.phase);
    const LiveTile tile = tile_of(shared, stage);
    issue_scores<Shape>(scores, q, advance(k, stage * kTileBytes));
    issue_values<Shape>(out, weights, advance(v, values * kTileBytes));
    matrix_wait<1>();
    arrive_warp(shared.k_empty[stage]);
    const bool shrinks = weigh<Shape>(p, shared, self, work, tile, scores, rows, shrink);
    // These values are for the next product. The wait stands here because the compiler moves
    // nothing over its branch: else the next line comes before the exponentials, which then hide
    // nothing.
    wait(shared.v_full[stage], self.stages.phase);
    matrix_wait<0>();
    arrive_warp(shared.v_empty[values]);
    to_operand<Element>(scores, weights);
    if (shrinks) scale_rows(out, shrink);
  }

  if constexpr (!Shape::kOutInQueries && !Shape::kQueriesInRegisters) arrive_warp(shared.q_empty);
  issue_values<Shape>(out, weights, advance(v, self.stages.slot * kTileBytes));
  matrix_wait<0>();
  arrive_warp(shared.v_empty[self.stages.slot]);
  self.stages.advance();
}

/// Rounds 64 rows of out into shared memory, in the layout of a tile.
template <typename Shape>
__device__ __forceinline__ void stage_rows(uint32_t to, const ConsumerState<Shape>& self,
                                           const float (&out)[Shape::kHeadDim / 2]) {
  using Element = typename Shape::Element;
  const int in_tile = self.warp() * 16 + self.lane() % 16;  // the row whose address this lane gives
  const uint32_t base = to + in_tile * 128;
#pragma unroll
  for (int j = 0; j < Shape::kHeadDim / 8; j += 2) {
    const int chunk = j + self.lane() / 16;  // 16 bytes: 8 columns
    const uint32_t words[4] = {pack<Element>(out[4 * j], out[4 * j + 1]),
                               pack<Element>(out[4 * j + 2], out[4 * j + 3]),
                               pack<Element>(out[4 * j + 4], out[4 * j + 5]),
                               pack<Element>(out[4 * j + 6], out[4 * j + 7])};
    store_matrices(base + (j / 8) * 64 * 128 + ((chunk % 8) ^ (in_tile % 8)) * 16, words);
  }
}

/// Divides, rounds and stores 64 rows of out through shared memory, and their lse.
template <typename Shape>
__device__ __forceinline__ void store_rows(const ForwardParams& p, ForwardShared<Shape>& shared,
                                           const ConsumerState<Shape>& self, const Work& work,
                                           int live, float (&out)[Shape::kHeadDim / 2],
                                           const RowState& rows) {
  const Problem& problem = p.launch.problem;
  const bool leader = self.warp() == 0 && self.lane() == 0;
  const int group = kFirstGroup + self.consumer;
  const int32_t first_row = work.tile * Shape::kRows + self.consumer * 64;
  const float sink =
      problem.sinks == nullptr ? -INFINITY : __ldg(problem.sinks + work.head) * kLog2E;
  float factor[2], lse[2];
  finish_rows(rows, sink, factor, lse);
  scale_rows(out, factor);

  const int32_t row = first_row + self.warp() * 16 + self.lane() / 4;
  const RowValues& to = p.launch.lse;
  float* lse_rows = to.data + work.batch * to.batch_stride + work.head * to.head_stride;
  if (self.lane() % 4 == 0) {
    if (row < problem.mask.query_length) lse_rows[row] = lse[0];
    if (row + 8 < problem.mask.query_length) lse_rows[row + 8] = lse[1];
  }

  auto* staged = shared.staged(self.consumer);
  if (leader) wait_stores_read();  // of the rows before these
  named_sync(group, 128);
  stage_rows<Shape>(shared_address(staged), self, out);
  fence_shared_async();
  named_sync(group, 128);
  if (leader) {
#pragma unroll
    for (int block = 0; block < Shape::kBlocks; ++block) {
      store_tile(p.out, {block * 64, first_row, work.head, work.batch}, staged + block * 64 * 64);
    }
    commit_stores();
  }
  if constexpr (Shape::kOutInQueries) {
    if (live > 0) {  // else no queries were loaded
      if (leader) wait_stores_read();
      arrive_warp(shared.q_empty);
    }
  }
}

/// One warpgroup: 64 rows of each piece of work.
template <typename Shape>
__device__ __forceinline__ void consume(const ForwardParams& p, ForwardShared<Shape>& shared,
                                        int consumer) {
  ConsumerState<Shape> self{consumer};
  for (;;) {
    wait(shared.work_full[self.works.slot], self.works.phase);
    const Work& work = shared.work[self.works.slot];  // stays there: registers are short
    const int live = uniform(work.live);
    if (live < 0) break;
    float out[Shape::kHeadDim / 2] = {};
    RowState rows;
    if (live > 0) attend<Shape>(p, shared, self, work, live, out, rows);
    store_rows<Shape>(p, shared, self, work, live, out, rows);
    arrive_warp(shared.work_empty[self.works.slot]);
    self.works.advance();
  }
  if (self.warp() == 0 && self.lane() == 0) wait_stores();
}

}  // namespace heddle::attention::cuda::sm90
