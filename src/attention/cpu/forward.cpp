#include <algorithm>

#include "heddle/attention/cpu/cpu.h"
#include "heddle/attention/cpu/merge.h"
#include "heddle/attention/cpu/problem.h"

namespace heddle::attention::cpu {

namespace {

/// One query tile of one head, on its way through the keys.
struct QueryTile {
  int32_t head;
  Tile place;
  ScoreRule rule;
  float* q;    // [64, E] in panels
  float* max;  // [64]
  float* sum;  // [64]
  float* out;  // [64, Ev] in panels
};

/// One thread's memory, and the steps of one block of query tiles.
class ForwardWorker {
 public:
  ForwardWorker(const Problem& problem, const Kernels& kernels, int32_t block)
      : problem_(problem),
        kernels_(kernels),
        head_dim_(problem.head_dim()),
        value_dim_(problem.value_dim()),
        scratch_(kTileRows * ((block + 1) * int64_t{head_dim_ + value_dim_} +
                              std::max(head_dim_, value_dim_) + 2 * kMaxLanes + 2 * block + 1) +
                 256),
        rows_(scratch_.take(kTileRows * std::max(head_dim_, value_dim_))),
        k_(scratch_.take(kTileKeys * head_dim_)),
        v_(scratch_.take(kTileKeys * value_dim_)),
        weights_(scratch_.take(kTileKeys * 2 * kMaxLanes)),
        factors_(scratch_.take(kTileRows)) {
    for (int32_t n = 0; n < block; ++n) {
      tiles_.push_back({.head = 0,
                        .place = {},
                        .rule = {},
                        .q = scratch_.take(kTileRows * head_dim_),
                        .max = scratch_.take(kTileRows),
                        .sum = scratch_.take(kTileRows),
                        .out = scratch_.take(kTileRows * value_dim_)});
    }
  }

  /// Members are query tiles of the heads of a group, heads first: they all read the same keys.
  void run(const Item& item, const MaskPlan& plan) {
    const auto group = static_cast<int32_t>(problem_.group());
    const int32_t mask_head = heddle::mask_head(problem_.mask, item.kv_head);
    merge_.clear();
    trim_ = plan.skips();
    for (int32_t n = 0; n < item.count; ++n) {
      const int32_t member = item.first + n;
      begin(tiles_[static_cast<size_t>(n)], item.kv_head * group + member % group, member / group);
      merge_.add(plan.runs_of_query_tile(mask_head, member / group));
    }
    while (merge_.next()) add_keys(item, mask_head, merge_.tile());
    for (int32_t n = 0; n < item.count; ++n) finish(tiles_[static_cast<size_t>(n)]);
  }

 private:
  void begin(QueryTile& tile, int32_t head, int32_t query_tile) {
    tile.head = head;
    tile.place = problem_.tile(query_tile, 0);
    tile.rule = problem_.rule(head);
    const Rows q = read_rows(problem_.args.q, head, tile.place.row, tile.place.rows, rows_);
    kernels_.pack(q, tile.rule.factor, tile.q);
    std::fill(tile.max, tile.max + kTileRows, -kInfinity);
    std::fill(tile.sum, tile.sum + kTileRows, 0.0f);
    std::fill(tile.out, tile.out + kTileRows * value_dim_, 0.0f);
  }

  void add_keys(const Item& item, int32_t mask_head, int32_t key_tile) {
    const Tile keys = problem_.tile(0, key_tile);
    copy_rows(problem_.args.k, item.kv_head, keys.key, keys.keys, head_dim_, k_);
    copy_rows(problem_.args.v, item.kv_head, keys.key, keys.keys, value_dim_, v_);
    if (key_tile > 0) {  // most often the next
      const Tile next = problem_.tile(0, key_tile - 1);
      prefetch_rows(problem_.args.k, item.kv_head, next.key, next.keys);
      prefetch_rows(problem_.args.v, item.kv_head, next.key, next.keys);
    }
    int32_t row = -1;  // whose words we hold
    for (int32_t n = 0; n < item.count; ++n) {
      const TileClass tile_class = merge_.on_list(static_cast<size_t>(n));
      if (tile_class == TileClass::skip) continue;
      const QueryTile& tile = tiles_[static_cast<size_t>(n)];
      const bool full = tile_class == TileClass::full;
      if (!full && tile.place.row != row) {
        row = tile.place.row;
        visible_rows_of_keys(problem_.mask, mask_head, {row, keys.key, tile.place.rows, keys.keys},
                             words_);
      }
      const bool careful = !full && !all_finite({v_, value_dim_, keys.keys, value_dim_});
      add_tile(tile, keys, full, careful);
    }
  }

  void add_tile(const QueryTile& tile, const Tile& keys, bool full, bool careful) {
    kernels_.forward({.q = tile.q,
                      .k = k_,
                      .v = v_,
                      .k_stride = head_dim_,
                      .v_stride = value_dim_,
                      .visible = full ? nullptr : words_.data(),
                      .rows = tile.place.rows,
                      .keys = keys.keys,
                      .head_dim = head_dim_,
                      .value_dim = value_dim_,
                      .distance = tile.place.row + problem_.mask.offset - keys.key,
                      .trim = trim_,
                      .careful = careful,
                      .rule = tile.rule,
                      .weights = weights_,
                      .max = tile.max,
                      .sum = tile.sum,
                      .out = tile.out});
  }

  /// Adds the sink, and writes out and lse.
  void finish(const QueryTile& tile) {
    const Args& args = problem_.args;
    const double sink = problem_.sink(tile.head);
    const auto [row, key, rows, keys] = tile.place;
    float* lse = args.lse.data<float>() + tile.head * args.lse.stride(0) + row;
    for (int i = 0; i < rows; ++i) {
      const RowEnd end = end_row(tile.max[i], tile.sum[i], sink);
      factors_[i] = end.factor;
      lse[i] = end.lse;
    }
    if (args.out.dtype() == DType::f32) {
      float* out =
          args.out.data<float>() + row * args.out.stride(0) + tile.head * args.out.stride(1);
      kernels_.unpack(tile.out, factors_, rows, value_dim_, out, args.out.stride(0));
    } else {
      kernels_.unpack(tile.out, factors_, rows, value_dim_, rows_, value_dim_);
      store_rows(rows_, value_dim_, args.out, tile.head, row, rows);
    }
  }

  const Problem& problem_;
  const Kernels& kernels_;
  int head_dim_, value_dim_;
  Scratch scratch_;
  float* rows_;     // [64, max(E, Ev)]
  float* k_;        // [64, E]
  float* v_;        // [64, Ev]
  float* weights_;  // [64, panel]
  float* factors_;  // [64]
  std::vector<QueryTile> tiles_;
  TileMerge<Order::falling> merge_;
  Words words_;
  bool trim_ = true;
};

}  // namespace

bool applies(const Args& args) {
  const DType dtype = args.q.dtype();
  return args.q.device().type == DeviceType::cpu &&
         (dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16);
}

void forward(const Args& args, const Kernels& kernels) {
  Problem problem(args);
  const MaskPlan& plan = problem.plan();
  const int threads = thread_count(args.threads);
  const int64_t tile_bytes = 4 * kTileRows * int64_t{problem.head_dim() + problem.value_dim()};
  const int32_t block = tiles_per_block(tile_bytes, plan.query_tiles() * problem.heads(), threads);

  const std::vector<Item> items = query_items(problem, plan, block);
  std::vector<ForwardWorker> workers;
  for (int t = 0; t < threads; ++t) workers.emplace_back(problem, kernels, block);
  for_each_item(args.threads, static_cast<int64_t>(items.size()), [&](int64_t index, int thread) {
    workers[static_cast<size_t>(thread)].run(items[static_cast<size_t>(index)], plan);
  });
}

}  // namespace heddle::attention::cpu
