#include "heddle/attention/cpu/problem.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numbers>
#include <tuple>
#include <type_traits>

#include "heddle/attention/table.h"

namespace heddle::attention::cpu {

namespace {

/// Bits [begin, end) of a word; both may lie outside [0, 64].
uint64_t bits_between(int32_t begin, int32_t end) {
  begin = std::max(begin, 0);
  end = std::min(end, 64);
  if (begin >= end) return 0;
  return (~uint64_t{0} >> (64 - (end - begin))) << begin;
}

/// Calls visit(float) or visit(Float16 / BFloat16) pointers of row `row`.
template <typename Visit>
void visit_row(const Tensor& tensor, int64_t head, int64_t row, Visit visit) {
  const int64_t at = row * tensor.stride(0) + head * tensor.stride(1);
  switch (tensor.dtype()) {
    case DType::f32:
      visit(tensor.data<float>() + at);
      break;
    case DType::f16:
      visit(tensor.data<Float16>() + at);
      break;
    default:
      visit(tensor.data<BFloat16>() + at);
      break;
  }
}

/// Blocks of [0, members) of every key/value head, the longest first, equal ones in order.
template <typename Cost>
std::vector<Item> items_of(const Problem& problem, int32_t members, int32_t block, Cost cost) {
  std::vector<Item> items;
  for (int32_t kv_head = 0; kv_head < problem.kv_heads(); ++kv_head) {
    const int32_t mask_head = heddle::mask_head(problem.mask, kv_head);
    for (int32_t first = 0; first < members; first += block) {
      Item item{kv_head, first, std::min(block, members - first), 0};
      for (int32_t n = 0; n < item.count; ++n) item.cost += cost(mask_head, first + n);
      items.push_back(item);
    }
  }
  std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
    return std::tie(b.cost, a.kv_head, a.first) < std::tie(a.cost, b.kv_head, b.first);
  });
  return items;
}

}  // namespace

Problem::Problem(const Args& call)
    : args(call), mask(call.mask->view()), scale(static_cast<float>(scale_of(call))) {}

int32_t Problem::mask_head(int64_t head) const {
  return heddle::mask_head(mask, static_cast<int32_t>(kv_head(head)));
}

ScoreRule Problem::rule(int64_t head) const {
  constexpr double kLog2e = std::numbers::log2e;
  const double slope = args.alibi_slopes.defined() ? args.alibi_slopes.data<float>()[head] : 0;
  const double factor = args.softcap > 0 ? 1 / args.softcap : kLog2e;
  return {static_cast<float>(scale_of(args) * factor), static_cast<float>(args.softcap * kLog2e),
          static_cast<float>(slope * kLog2e)};
}

double Problem::sink(int64_t head) const {
  return args.sinks.defined() ? args.sinks.data<float>()[head] * std::numbers::log2e
                              : -std::numeric_limits<double>::infinity();
}

const MaskPlan& Problem::plan() {
  const MaskPlan* given = args.plan;
  if (given != nullptr && given->tile().rows == kTileRows && given->tile().keys == kTileKeys) {
    return *given;
  }
  if (!own_plan_) own_plan_.emplace(*args.mask, TileShape{kTileRows, kTileKeys});
  return *own_plan_;
}

Tile Problem::tile(int32_t query_tile, int32_t key_tile) const {
  const int32_t row = query_tile * kTileRows, key = key_tile * kTileKeys;
  return {row, key, std::min(kTileRows, mask.query_length - row),
          std::min(kTileKeys, mask.key_length - key)};
}

void visible_rows_of_keys(const MaskView& mask, int32_t head, const Tile& tile, Words& words) {
  words.fill(0);
  for (int j = 0; j < tile.keys; ++j) {
    const MaskColumn column = mask_column(mask, head, tile.key + j);
    words[static_cast<size_t>(j)] = bits_between(column.first - tile.row, tile.rows) &
                                    ~bits_between(column.lts - tile.row, column.lte - tile.row) &
                                    ~bits_between(column.uts - tile.row, column.ute - tile.row);
  }
}

// Swaps ever smaller off-diagonal blocks (Warren, "Hacker's Delight", section 7–3).
void transpose_bits(Words& words) {
  uint64_t low = 0x00000000ffffffff;
  for (unsigned half = 32; half != 0; half /= 2, low ^= low << half) {
    for (unsigned i = 0; i < 64; i = (i + half + 1) & ~half) {
      const uint64_t swapped = ((words[i] >> half) ^ words[i + half]) & low;
      words[i] ^= swapped << half;
      words[i + half] ^= swapped;
    }
  }
}

Rows read_rows(const Tensor& tensor, int64_t head, int32_t first, int count, float* buffer) {
  const auto width = static_cast<int>(tensor.dim(2));
  if (tensor.dtype() == DType::f32) {
    const int64_t at = first * tensor.stride(0) + head * tensor.stride(1);
    prefetch_rows(tensor, head, first, count);
    return {tensor.data<float>() + at, tensor.stride(0), count, width};
  }
  copy_rows(tensor, head, first, count, width, buffer);
  return {buffer, width, count, width};
}

void copy_rows(const Tensor& tensor, int64_t head, int32_t first, int count, int64_t width,
               float* to) {
  const int64_t columns = tensor.dim(2);
  prefetch_rows(tensor, head, first, count);
  for (int i = 0; i < count; ++i) {
    float* row = to + i * width;
    visit_row(tensor, head, first + i, [&](const auto* from) {
      for (int64_t e = 0; e < columns; ++e) row[e] = static_cast<float>(from[e]);
    });
    std::fill(row + columns, row + width, 0.0f);
  }
}

void store_rows(const float* from, int64_t width, const Tensor& tensor, int64_t head, int32_t first,
                int count) {
  const int64_t columns = tensor.dim(2);
  for (int i = 0; i < count; ++i) {
    const float* row = from + i * width;
    visit_row(tensor, head, first + i, [&](auto* to) {
      for (int64_t e = 0; e < columns; ++e) to[e] = std::remove_reference_t<decltype(*to)>(row[e]);
    });
  }
}

void prefetch_rows(const Tensor& tensor, int64_t head, int32_t first, int count) {
  constexpr int64_t kLine = 64;
  for (int i = 0; i < count; ++i) {
    visit_row(tensor, head, first + i, [&](const auto* from) {
      const auto* bytes = reinterpret_cast<const std::byte*>(from);
      const auto size = tensor.dim(2) * static_cast<int64_t>(sizeof *from);
      for (int64_t at = 0; at < size; at += kLine) __builtin_prefetch(bytes + at);
    });
  }
}

RowEnd end_row(double max, double sum, double sink) {
  if (sum == 0) return {0, -kInfinity};  // its largest weight would be 1
  const double log_sum = max + std::log2(sum);
  if (sink == -double{kInfinity}) {
    return {static_cast<float>(1 / sum), static_cast<float>(log_sum * std::numbers::ln2)};
  }
  const double larger = std::max(log_sum, sink), smaller = std::min(log_sum, sink);
  const double total = larger + std::log2(1 + std::exp2(smaller - larger));
  return {static_cast<float>(std::exp2(max - total)),
          static_cast<float>(total * std::numbers::ln2)};
}

bool all_finite(const Rows& rows) {
  constexpr uint32_t kExponent = 0x7f800000;
  uint32_t found = 0;
  for (int i = 0; i < rows.count; ++i) {
    const float* row = rows.data + i * rows.stride;
    for (int e = 0; e < rows.width; ++e) {
      found |= (std::bit_cast<uint32_t>(row[e]) & kExponent) == kExponent ? 1u : 0u;
    }
  }
  return found == 0;
}

std::vector<Item> query_items(const Problem& problem, const MaskPlan& plan, int32_t block) {
  const auto group = static_cast<int32_t>(problem.group());
  return items_of(problem, plan.query_tiles() * group, block, [&](int32_t mask_head, int32_t n) {
    return plan.live_tiles_of_query_tile(mask_head, n / group);
  });
}

std::vector<Item> key_items(const Problem& problem, const MaskPlan& plan, int32_t block) {
  return items_of(problem, plan.key_tiles(), block, [&](int32_t mask_head, int32_t n) {
    return plan.live_tiles_of_key_tile(mask_head, n);
  });
}

int32_t tiles_per_block(int64_t bytes_per_tile, int64_t tiles, int threads) {
  constexpr int64_t kCache = 256 * 1024;  // half of the second-level cache of common processors
  const int64_t cached = kCache / bytes_per_tile;
  const int64_t shared_out = tiles / (int64_t{8} * threads);
  return static_cast<int32_t>(std::clamp<int64_t>(std::min(cached, shared_out), 1, 8));
}

void for_each_item(ThreadPool* threads, int64_t count,
                   const std::function<void(int64_t, int)>& body) {
  if (threads != nullptr) return threads->parallel_for(count, body);
  for (int64_t index = 0; index < count; ++index) body(index, 0);
}

}  // namespace heddle::attention::cpu
