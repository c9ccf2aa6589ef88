#include "heddle/attention/cpu/backward_worker.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>

namespace heddle::attention::cpu {

namespace {

constexpr int64_t kTile = 64;
static_assert(kTileRows == kTile && kTileKeys == kTile);

int64_t query_side_floats(const Problem& problem) {
  return kTile *
         (2 * Scratch::padded(problem.head_dim()) + Scratch::padded(problem.value_dim()) + 2);
}

int64_t key_side_floats(const Problem& problem) {
  return kTile *
         (3 * Scratch::padded(problem.head_dim()) + 2 * Scratch::padded(problem.value_dim()));
}

/// The last key tile of a query tile's list, which is not empty.
int32_t last_tile(const TileRuns& runs) {
  const TileRun first = *runs.begin();
  return first.first + static_cast<int32_t>(first.count) - 1;
}

}  // namespace

int64_t BackwardWorker::query_side_bytes(const Problem& problem) {
  return 4 * query_side_floats(problem);
}

int64_t BackwardWorker::key_side_bytes(const Problem& problem) {
  return 4 * key_side_floats(problem);
}

BackwardWorker::BackwardWorker(const Problem& problem, const Gradients& gradients,
                               const Kernels& kernels, BlockSize size)
    : problem_(problem),
      gradients_(gradients),
      kernels_(kernels),
      key_width_(Scratch::padded(problem.head_dim())),
      value_width_(Scratch::padded(problem.value_dim())),
      scratch_(kTile * (value_width_ + 2 * kTile) + size.queries * query_side_floats(problem) +
               size.keys * key_side_floats(problem)),
      rows_(scratch_.take(kTile * value_width_)),
      weights_(scratch_.take(kTile * kTile)),
      d_scores_(scratch_.take(kTile * kTile)) {
  for (int32_t n = 0; n < size.queries; ++n) {
    query_sides_.push_back({.head = 0,
                            .place = {},
                            .q = scratch_.take(kTile * key_width_),
                            .d_out = scratch_.take(kTile * value_width_),
                            .lse = scratch_.take(kTile),
                            .delta = scratch_.take(kTile),
                            .d_q = scratch_.take(kTile * key_width_)});
  }
  for (int32_t n = 0; n < size.keys; ++n) {
    key_sides_.push_back({.place = {},
                          .k = scratch_.take(kTile * key_width_),
                          .k_panels = scratch_.take(kTile * key_width_),
                          .v_panels = scratch_.take(kTile * value_width_),
                          .d_k = scratch_.take(kTile * key_width_),
                          .d_v = scratch_.take(kTile * value_width_)});
  }
}

void BackwardWorker::run_keys(const Item& item, const MaskPlan& plan, bool add_d_q) {
  const int32_t mask_head = heddle::mask_head(problem_.mask, item.kv_head);
  trim_ = plan.skips();
  for (int32_t n = 0; n < item.count; ++n) {
    KeySide& side = key_sides_[static_cast<size_t>(n)];
    load(side, item.kv_head, problem_.tile(0, item.first + n));
    std::fill(side.d_k, side.d_k + kTile * key_width_, 0.0f);
    std::fill(side.d_v, side.d_v + kTile * value_width_, 0.0f);
  }
  QuerySide& queries = query_sides_[0];
  for (int64_t h = 0; h < problem_.group(); ++h) {
    rising_.clear();
    for (int32_t n = 0; n < item.count; ++n) {
      rising_.add(plan.runs_of_key_tile(mask_head, item.first + n));
    }
    while (rising_.next()) {
      load(queries, item.kv_head * problem_.group() + h, problem_.tile(rising_.tile(), 0));
      const auto [row, key, rows, keys] = queries.place;
      const Tensor& d_q = gradients_.d_q;
      const int32_t last_seen = last_tile(plan.runs_of_query_tile(mask_head, rising_.tile()));
      if (add_d_q && last_seen < item.first + item.count) {
        std::fill(queries.d_q, queries.d_q + kTile * key_width_, 0.0f);
      } else if (add_d_q) {
        copy_rows(d_q, queries.head, row, rows, key_width_, queries.d_q);
      }
      if (rising_.tile() + 1 < plan.query_tiles()) prefetch_queries(queries.head, row + kTileRows);
      for (int32_t n = item.count - 1; n >= 0; --n) {
        const TileClass tile_class = rising_.on_list(static_cast<size_t>(n));
        if (tile_class == TileClass::skip) continue;
        const KeySide& side = key_sides_[static_cast<size_t>(n)];
        run_pair(queries, side, tile_class == TileClass::full, true, add_d_q);
      }
      if (add_d_q) store_rows(queries.d_q, key_width_, d_q, queries.head, row, rows);
    }
  }
  for (int32_t n = 0; n < item.count; ++n) {
    const KeySide& side = key_sides_[static_cast<size_t>(n)];
    const auto [row, key, rows, keys] = side.place;
    store_rows(side.d_k, key_width_, gradients_.d_k, item.kv_head, key, keys);
    store_rows(side.d_v, value_width_, gradients_.d_v, item.kv_head, key, keys);
  }
}

void BackwardWorker::run_queries(const Item& item, const MaskPlan& plan) {
  const int64_t group = problem_.group();
  const int32_t mask_head = heddle::mask_head(problem_.mask, item.kv_head);
  trim_ = plan.skips();
  falling_.clear();
  for (int32_t n = 0; n < item.count; ++n) {
    const auto query_tile = static_cast<int32_t>((item.first + n) / group);
    QuerySide& side = query_sides_[static_cast<size_t>(n)];
    load(side, item.kv_head * group + (item.first + n) % group, problem_.tile(query_tile, 0));
    std::fill(side.d_q, side.d_q + kTile * key_width_, 0.0f);
    falling_.add(plan.runs_of_query_tile(mask_head, query_tile));
  }
  while (falling_.next()) {
    load(key_sides_[0], item.kv_head, problem_.tile(0, falling_.tile()));
    for (int32_t n = 0; n < item.count; ++n) {
      const TileClass tile_class = falling_.on_list(static_cast<size_t>(n));
      if (tile_class == TileClass::skip) continue;
      const QuerySide& side = query_sides_[static_cast<size_t>(n)];
      run_pair(side, key_sides_[0], tile_class == TileClass::full, false, true);
    }
  }
  for (int32_t n = 0; n < item.count; ++n) {
    const QuerySide& side = query_sides_[static_cast<size_t>(n)];
    const auto [row, key, rows, keys] = side.place;
    store_rows(side.d_q, key_width_, gradients_.d_q, side.head, row, rows);
  }
}

void BackwardWorker::clear_unseen_d_q(int32_t kv_head, const MaskPlan& plan) {
  const int32_t mask_head = heddle::mask_head(problem_.mask, kv_head);
  float* zeros = query_sides_[0].d_q;
  std::fill(zeros, zeros + kTile * key_width_, 0.0f);
  for (int32_t query_tile = 0; query_tile < plan.query_tiles(); ++query_tile) {
    if (plan.live_tiles_of_query_tile(mask_head, query_tile) != 0) continue;
    const Tile place = problem_.tile(query_tile, 0);
    for (int64_t h = 0; h < problem_.group(); ++h) {
      const int64_t head = kv_head * problem_.group() + h;
      store_rows(zeros, key_width_, gradients_.d_q, head, place.row, place.rows);
    }
  }
}

float BackwardWorker::d_sink(int64_t head) {
  double sum = 0;
  const double sink = problem_.sink(head);
  QuerySide& side = query_sides_[0];
  for (int32_t row = 0; row < problem_.mask.query_length; row += kTileRows) {
    load(side, head, problem_.tile(row / kTileRows, 0));
    for (int i = 0; i < side.place.rows; ++i) {
      const bool sees = side.lse[i] != -std::numeric_limits<float>::infinity();
      if (sees) sum -= std::exp2(sink - side.lse[i]) * side.delta[i];
    }
  }
  return static_cast<float>(sum);
}

void BackwardWorker::prefetch_queries(int64_t head, int32_t row) {
  const int rows = problem_.tile(row / kTileRows, 0).rows;
  prefetch_rows(problem_.args.q, head, row, rows);
  prefetch_rows(problem_.args.out, head, row, rows);
  prefetch_rows(gradients_.d_out, head, row, rows);
  prefetch_rows(gradients_.d_q, head, row, rows);
}

void BackwardWorker::load(KeySide& side, int64_t kv_head, const Tile& place) {
  const Args& args = problem_.args;
  const float factor = problem_.rule(0).factor;  // the same for all heads
  side.place = place;
  copy_rows(args.k, kv_head, place.key, place.keys, key_width_, side.k);
  kernels_.pack({side.k, key_width_, place.keys, problem_.head_dim()}, factor, side.k_panels);
  kernels_.pack(read_rows(args.v, kv_head, place.key, place.keys, rows_), 1.0f, side.v_panels);
}

void BackwardWorker::load(QuerySide& side, int64_t head, const Tile& place) {
  const Args& args = problem_.args;
  side.head = head;
  side.place = place;
  copy_rows(args.q, head, place.row, place.rows, key_width_, side.q);
  copy_rows(gradients_.d_out, head, place.row, place.rows, value_width_, side.d_out);
  const Rows d_out{side.d_out, value_width_, place.rows, problem_.value_dim()};
  kernels_.dot_rows(read_rows(args.out, head, place.row, place.rows, rows_), d_out, side.delta);
  const float* lse = args.lse.data<float>() + head * args.lse.stride(0) + place.row;
  for (int i = 0; i < place.rows; ++i) side.lse[i] = lse[i] * std::numbers::log2e_v<float>;
}

void BackwardWorker::run_pair(const QuerySide& queries, const KeySide& keys, bool full,
                              bool want_keys, bool want_queries) {
  const Tile pair{queries.place.row, keys.place.key, queries.place.rows, keys.place.keys};
  bool careful = false;
  if (!full) {
    visible_rows_of_keys(problem_.mask, problem_.mask_head(queries.head), pair, words_);
    transpose_bits(words_);
    careful = !all_finite({queries.q, key_width_, pair.rows, problem_.head_dim()}) ||
              !all_finite({queries.d_out, value_width_, pair.rows, problem_.value_dim()}) ||
              !all_finite({keys.k, key_width_, pair.keys, problem_.head_dim()});
  }
  kernels_.backward({.q = queries.q,
                     .d_out = queries.d_out,
                     .k = keys.k,
                     .k_panels = keys.k_panels,
                     .v_panels = keys.v_panels,
                     .lse = queries.lse,
                     .delta = queries.delta,
                     .visible = full ? nullptr : words_.data(),
                     .rows = pair.rows,
                     .keys = pair.keys,
                     .head_dim = problem_.head_dim(),
                     .value_dim = problem_.value_dim(),
                     .key_width = key_width_,
                     .value_width = value_width_,
                     .distance = pair.row + problem_.mask.offset - pair.key,
                     .trim = trim_,
                     .careful = careful,
                     .rule = problem_.rule(queries.head),
                     .scale = problem_.scale,
                     .weights = weights_,
                     .d_scores = d_scores_,
                     .d_q = want_queries ? queries.d_q : nullptr,
                     .d_k = want_keys ? keys.d_k : nullptr,
                     .d_v = want_keys ? keys.d_v : nullptr});
}

}  // namespace heddle::attention::cpu
