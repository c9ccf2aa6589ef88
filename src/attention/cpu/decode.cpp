#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "heddle/attention/cpu/cpu.h"
#include "heddle/attention/cpu/problem.h"

namespace heddle::attention::cpu {

namespace {

/// What the rows see of 64 keys, for each head of the mask.
struct KeyBlock {
  int32_t tile;
  std::vector<TileClass> classes;
};

TileClass classify_block(const Problem& problem, int32_t mask_head, const Tile& tile) {
  const uint64_t all = (uint64_t{1} << problem.mask.query_length) - 1;
  Words words;
  visible_rows_of_keys(problem.mask, mask_head, tile, words);
  uint64_t any = 0, every = all;
  for (int j = 0; j < tile.keys; ++j) {
    any |= words[static_cast<size_t>(j)];
    every &= words[static_cast<size_t>(j)];
  }
  if (any == 0) return TileClass::skip;
  return every == all ? TileClass::full : TileClass::partial;
}

/// Blocks of keys that some row sees under some head, rising.
std::vector<KeyBlock> live_blocks(const Problem& problem) {
  std::vector<KeyBlock> blocks;
  KeyBlock block{0, std::vector<TileClass>(static_cast<size_t>(problem.mask.heads))};
  for (; block.tile * kTileKeys < problem.mask.key_length; ++block.tile) {
    bool live = false;
    for (int32_t head = 0; head < problem.mask.heads; ++head) {
      TileClass& its_class = block.classes[static_cast<size_t>(head)];
      its_class = classify_block(problem, head, problem.tile(0, block.tile));
      live = live || its_class != TileClass::skip;
    }
    if (live) blocks.push_back(block);
  }
  return blocks;
}

/// How rows and keys are cut. A tile holds the rows of several heads of a group, one head after the
/// other; with ALiBi, whose distances must run along the lanes, of one.
struct Layout {
  Layout(const Problem& problem, const Kernels& kernels)
      : rows(problem.mask.query_length),
        heads_per_tile(problem.args.alibi_slopes.defined()
                           ? 1
                           : std::min<int64_t>(kTileRows / rows, problem.group())),
        tiles((problem.group() + heads_per_tile - 1) / heads_per_tile) {
    const int tile_rows = static_cast<int>(heads_per_tile) * rows;
    few_rows = tile_rows <= kFewRows;
    const int panel = few_rows ? 1 : kernels.panel(tile_rows);
    padded_rows = (tile_rows + panel - 1) / panel * panel;
    tile_floats = padded_rows * (2 + int64_t{problem.value_dim()});
    // More parts than 64, or than fit 1 MB of partial results, would not pay for themselves.
    constexpr int64_t kParts = 64, kPartFloats = int64_t{1} << 18;
    part_floats = problem.kv_heads() * tiles * tile_floats;
    parts = std::clamp<int64_t>(kPartFloats / part_floats, 1, kParts);
  }

  static constexpr int kFewRows = 4;  // more fill the lanes of panels well enough

  int rows;  // Tq
  int64_t heads_per_tile;
  int64_t tiles;  // of one key/value head
  bool few_rows;  // q and out of a tile lie row by row, else in panels
  int64_t padded_rows;
  int64_t tile_floats;  // max [rows], sum [rows], out [rows, Ev]
  int64_t part_floats;  // tiles of all key/value heads
  int64_t parts;        // of the keys
};

/// The running softmax of one tile over one part of the keys.
struct Partial {
  Partial(float* memory, const Layout& layout)
      : max(memory), sum(max + layout.padded_rows), out(sum + layout.padded_rows) {}

  float *max, *sum, *out;
};

class DecodeWorker {
 public:
  DecodeWorker(const Problem& problem, const Kernels& kernels, const Layout& layout)
      : problem_(problem),
        kernels_(kernels),
        layout_(layout),
        head_dim_(problem.head_dim()),
        value_dim_(problem.value_dim()),
        scratch_(kTileRows * (2 * int64_t{head_dim_} + value_dim_ + 2 * kMaxLanes) +
                 problem.kv_heads() * layout.tiles * layout.padded_rows * head_dim_ + 256),
        rows_(scratch_.take(kTileRows * head_dim_)),
        k_(scratch_.take(kTileKeys * head_dim_)),
        v_(scratch_.take(kTileKeys * value_dim_)),
        weights_(scratch_.take(kTileKeys * 2 * kMaxLanes)),
        q_(scratch_.take(0)) {}

  /// One part of the keys for key/value heads [begin, end). All heads of a block come before the
  /// next block, since they lie side by side in memory.
  void run(std::span<const KeyBlock> blocks, int64_t begin, int64_t end, float* memory) {
    for (int64_t head = begin; head < end; ++head) {
      float* its_memory = memory + head * layout_.tiles * layout_.tile_floats;
      for (int64_t n = 0; n < layout_.tiles; ++n) {
        pack_queries(head, n);
        const Partial partial(its_memory + n * layout_.tile_floats, layout_);
        std::fill(partial.max, partial.sum, -kInfinity);
        std::fill(partial.sum, partial.max + layout_.tile_floats, 0.0f);
      }
    }
    for (const KeyBlock& block : blocks) {
      for (int64_t head = begin; head < end; ++head) add_block(head, block, memory);
    }
  }

 private:
  int64_t heads_of(int64_t tile) const {
    const int64_t first = tile * layout_.heads_per_tile;
    return std::min(layout_.heads_per_tile, problem_.group() - first);
  }
  int64_t first_head(int64_t kv_head, int64_t tile) const {
    return kv_head * problem_.group() + tile * layout_.heads_per_tile;
  }

  float* packed_queries(int64_t kv_head, int64_t tile) const {
    return q_ + (kv_head * layout_.tiles + tile) * layout_.padded_rows * head_dim_;
  }

  void pack_queries(int64_t kv_head, int64_t tile) {
    const int64_t first = first_head(kv_head, tile), heads = heads_of(tile);
    for (int64_t h = 0; h < heads; ++h) {
      float* to = rows_ + h * layout_.rows * head_dim_;
      copy_rows(problem_.args.q, first + h, 0, layout_.rows, head_dim_, to);
    }
    const int count = static_cast<int>(heads) * layout_.rows;
    const float factor = problem_.rule(first).factor;
    float* packed = packed_queries(kv_head, tile);
    if (layout_.few_rows) {
      std::transform(rows_, rows_ + count * head_dim_, packed, [&](float x) { return x * factor; });
    } else {
      kernels_.pack({rows_, head_dim_, count, head_dim_}, factor, packed);
    }
  }

  /// Keys or values; for few rows f32 as they lie, since asking for them ahead costs more than it
  /// saves.
  Rows rows_of(const Tensor& tensor, int64_t kv_head, const Tile& place, float* buffer) const {
    if (tensor.dtype() == DType::f32 && layout_.few_rows) {
      const int64_t at = place.key * tensor.stride(0) + kv_head * tensor.stride(1);
      return {tensor.data<float>() + at, tensor.stride(0), place.keys,
              static_cast<int>(tensor.dim(2))};
    }
    return read_rows(tensor, kv_head, place.key, place.keys, buffer);
  }

  void add_block(int64_t kv_head, const KeyBlock& block, float* memory) {
    const int32_t mask_head = problem_.mask_head(kv_head * problem_.group());
    const TileClass tile_class = block.classes[static_cast<size_t>(mask_head)];
    if (tile_class == TileClass::skip) return;
    const bool full = tile_class == TileClass::full;
    const Tile place = problem_.tile(0, block.tile);
    const Rows k = rows_of(problem_.args.k, kv_head, place, k_);
    const Rows v = rows_of(problem_.args.v, kv_head, place, v_);
    bool careful = false;
    if (!full) {
      visible_rows_of_keys(problem_.mask, mask_head, place, words_);
      for (uint64_t& word : words_) word = repeated(word);
      careful = !all_finite(v);
    }
    for (int64_t n = 0; n < layout_.tiles; ++n) {
      const Partial partial(memory + (kv_head * layout_.tiles + n) * layout_.tile_floats, layout_);
      const auto add = layout_.few_rows ? kernels_.few_rows : kernels_.forward;
      add({.q = packed_queries(kv_head, n),
           .k = k.data,
           .v = v.data,
           .k_stride = k.stride,
           .v_stride = v.stride,
           .visible = full ? nullptr : words_.data(),
           .rows = static_cast<int>(heads_of(n)) * layout_.rows,
           .keys = place.keys,
           .head_dim = head_dim_,
           .value_dim = value_dim_,
           .distance = problem_.mask.offset - place.key,
           .trim = true,
           .careful = careful,
           .rule = problem_.rule(first_head(kv_head, n)),
           .weights = weights_,
           .max = partial.max,
           .sum = partial.sum,
           .out = partial.out});
    }
  }

  /// One head's word for every head of a tile.
  uint64_t repeated(uint64_t word) const {
    uint64_t all = 0;
    for (int64_t h = 0; h < layout_.heads_per_tile; ++h) all |= word << (h * layout_.rows);
    return all;
  }

  const Problem& problem_;
  const Kernels& kernels_;
  const Layout& layout_;
  int head_dim_, value_dim_;
  Scratch scratch_;
  float* rows_;     // [64, E]
  float* k_;        // [64, E]
  float* v_;        // [64, Ev]
  float* weights_;  // [64, panel]
  float* q_;        // [K, tiles, rows, E]; the rest of the memory
  Words words_;
};

/// Joins the parts of one row of one tile, in order, and writes out and lse.
void join_row(const Problem& problem, const Kernels& kernels, const Layout& layout, int64_t head,
              int row, const float* parts) {
  const Args& args = problem.args;
  const int value_dim = problem.value_dim();
  const int64_t in_tile = head % problem.group() % layout.heads_per_tile * layout.rows + row;
  const int64_t heads_here = std::min(
      layout.heads_per_tile,
      problem.group() - head % problem.group() / layout.heads_per_tile * layout.heads_per_tile);
  const int panel = layout.few_rows ? 1 : kernels.panel(static_cast<int>(heads_here) * layout.rows);
  const int64_t at = in_tile / panel * panel * value_dim + in_tile % panel;

  constexpr double kNone = -std::numeric_limits<double>::infinity();
  double max = kNone, sum = 0;
  for (int64_t p = 0; p < layout.parts; ++p) {
    max = std::max<double>(max, parts[p * layout.part_floats + in_tile]);
  }
  const double base = max == kNone ? 0 : max;  // −inf − (−inf) would be NaN
  double out[kMaxWidth] = {};
  for (int64_t p = 0; p < layout.parts; ++p) {
    const float* part = parts + p * layout.part_floats;
    const float* part_out = part + 2 * layout.padded_rows + at;
    const double weight = std::exp2(part[in_tile] - base);
    sum += weight * part[layout.padded_rows + in_tile];
    for (int e = 0; e < value_dim; ++e) out[e] += weight * part_out[e * panel];
  }
  const RowEnd end = end_row(max, sum, problem.sink(head));
  float values[kMaxWidth];
  for (int e = 0; e < value_dim; ++e) values[e] = static_cast<float>(out[e] * end.factor);
  store_rows(values, value_dim, args.out, head, row, 1);
  args.lse.data<float>()[head * args.lse.stride(0) + row] = end.lse;
}

}  // namespace

void decode(const Args& args, const Kernels& kernels) {
  const Problem problem(args);
  const Layout layout(problem, kernels);
  const std::vector<KeyBlock> blocks = live_blocks(problem);
  Scratch memory(layout.parts * layout.part_floats);
  float* partials = memory.take(0);

  // Heads are shared out as far as the parts leave threads without work.
  const int threads = thread_count(args.threads);
  const int64_t kv_heads = problem.kv_heads();
  const int64_t chunks = std::clamp<int64_t>(4 * threads / layout.parts, 1, kv_heads);
  std::vector<DecodeWorker> workers;
  for (int t = 0; t < threads; ++t) workers.emplace_back(problem, kernels, layout);
  for_each_item(args.threads, layout.parts * chunks, [&](int64_t index, int thread) {
    const int64_t part = index / chunks, chunk = index % chunks;
    const auto cut = [&](int64_t p) {
      return static_cast<size_t>(static_cast<int64_t>(blocks.size()) * p / layout.parts);
    };
    const std::span<const KeyBlock> its_blocks(blocks.data() + cut(part),
                                               cut(part + 1) - cut(part));
    workers[static_cast<size_t>(thread)].run(its_blocks, kv_heads * chunk / chunks,
                                             kv_heads * (chunk + 1) / chunks,
                                             partials + part * layout.part_floats);
  });
  for (int64_t head = 0; head < problem.heads(); ++head) {
    const int64_t tile =
        problem.kv_head(head) * layout.tiles + head % problem.group() / layout.heads_per_tile;
    for (int row = 0; row < layout.rows; ++row) {
      join_row(problem, kernels, layout, head, row, partials + tile * layout.tile_floats);
    }
  }
}

}  // namespace heddle::attention::cpu
