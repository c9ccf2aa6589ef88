// One thread of the backward pass: its memory, and the steps of one block of tiles.
#pragma once

#include <vector>

#include "heddle/attention/cpu/merge.h"
#include "heddle/attention/cpu/problem.h"

namespace heddle::attention::cpu {

/// A query tile of one head; the rows of every array but d_q's lie as far apart as in the kernel.
struct QuerySide {
  int64_t head;
  Tile place;
  float* q;      // [64, E]
  float* d_out;  // [64, Ev]
  float* lse;    // [64], in units of log2
  float* delta;  // [64]: out · d_out
  float* d_q;    // [64, E]
};

/// A key tile of one key/value head.
struct KeySide {
  Tile place;
  float* k;         // [64, E]
  float* k_panels;  // packed [64, E], times the rule's factor
  float* v_panels;  // packed [64, Ev]
  float* d_k;       // [64, E]
  float* d_v;       // [64, Ev]
};

/// How many tiles of each side a worker holds.
struct BlockSize {
  int32_t queries, keys;
};

class BackwardWorker {
 public:
  BackwardWorker(const Problem& problem, const Gradients& gradients, const Kernels& kernels,
                 BlockSize size);

  /// d_k and d_v of a block of key tiles, from all query heads of the group. With `add_d_q`, also
  /// adds these keys' part to d_q in place; the blocks must then come from last to first, since the
  /// first that a query tile sees starts its d_q.
  void run_keys(const Item& item, const MaskPlan& plan, bool add_d_q);

  /// d_q of a block of query tiles (members as in forward.cpp). Adds key tiles from last to first,
  /// as run_keys does when its blocks come in that order: d_q has the same bits either way.
  void run_queries(const Item& item, const MaskPlan& plan);

  /// Zeros in d_q where no key is seen, which no block reaches.
  void clear_unseen_d_q(int32_t kv_head, const MaskPlan& plan);

  /// −Σ_i exp(sink − lse[i]) · delta[i] over the rows that see something.
  float d_sink(int64_t head);

  static int64_t query_side_bytes(const Problem& problem);
  static int64_t key_side_bytes(const Problem& problem);

 private:
  void load(QuerySide& side, int64_t head, const Tile& place);
  void load(KeySide& side, int64_t kv_head, const Tile& place);
  void prefetch_queries(int64_t head, int32_t row);  ///< the tile that is most often the next
  void run_pair(const QuerySide& queries, const KeySide& keys, bool full, bool want_keys,
                bool want_queries);

  const Problem& problem_;
  const Gradients& gradients_;
  const Kernels& kernels_;
  int64_t key_width_, value_width_;  // padded E, Ev
  Scratch scratch_;
  float* rows_;      // [64, Ev]
  float* weights_;   // [64, 64]
  float* d_scores_;  // [64, 64]
  std::vector<QuerySide> query_sides_;
  std::vector<KeySide> key_sides_;
  TileMerge<Order::rising> rising_;
  TileMerge<Order::falling> falling_;
  Words words_;
  bool trim_ = true;
};

}  // namespace heddle::attention::cpu
