#include "lab.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <thread>

namespace lab {

namespace {

std::string current = "(nothing yet)";

__device__ uint32_t mix(uint32_t x) {
  x ^= x >> 16;
  x *= 0x7feb352du;
  x ^= x >> 15;
  x *= 0x846ca68bu;
  return x ^ (x >> 16);
}

/// Sum of four uniforms, scaled to variance 1: bounded, so that errors compare between runs.
__global__ void randomise_kernel(uint16_t* data, int64_t rows_used, int64_t rows, int64_t width,
                                 int64_t total, uint32_t seed, bool bf16) {
  for (int64_t i = blockIdx.x * int64_t{blockDim.x} + threadIdx.x; i < total;
       i += int64_t{gridDim.x} * blockDim.x) {
    if (i / width % rows >= rows_used) {
      data[i] = 0x7fff;  // NaN in both formats
      continue;
    }
    float sum = 0;
    uint32_t word = mix(static_cast<uint32_t>(i) ^ mix(seed + static_cast<uint32_t>(i >> 32)));
    for (int n = 0; n < 4; ++n) {
      sum += static_cast<float>(word & 0xffffu) / 65536.0f - 0.5f;
      word = mix(word + 0x9e3779b9u);
    }
    const float value = sum * 1.7320508f;
    data[i] = bf16 ? __bfloat16_as_ushort(__float2bfloat16(value))
                   : __half_as_ushort(__float2half(value));
  }
}

double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

void set_current(const std::string& name) { current = name; }

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::printf("CUDA ERROR in [%s]: %s: %s\n", current.c_str(), what, cudaGetErrorString(error));
  std::fflush(stdout);
  _exit(2);
}

void wait_for_gpu(double seconds) {
  cudaEvent_t done;
  LAB_CHECK(cudaEventCreateWithFlags(&done, cudaEventDisableTiming));
  LAB_CHECK(cudaEventRecord(done));
  const double start = seconds_now();
  for (;;) {
    const cudaError_t state = cudaEventQuery(done);
    if (state == cudaSuccess) break;
    if (state != cudaErrorNotReady) check(state, "kernel");
    if (seconds_now() - start > seconds) {
      std::printf("HANG in [%s]: not done after %.0f s\n", current.c_str(), seconds);
      std::fflush(stdout);
      _exit(3);
    }
    usleep(50);
  }
  LAB_CHECK(cudaEventDestroy(done));
  LAB_CHECK(cudaDeviceSynchronize());
}

Memory::Memory(size_t bytes, int fill_byte) : bytes_(bytes) {
  LAB_CHECK(cudaMalloc(&data_, std::max<size_t>(bytes, 16)));
  fill(fill_byte);
}
Memory::~Memory() { cudaFree(data_); }
void Memory::fill(int byte) { LAB_CHECK(cudaMemset(data_, byte, std::max<size_t>(bytes_, 16))); }
void Memory::upload(const void* from, size_t bytes) {
  LAB_CHECK(cudaMemcpy(data_, from, bytes, cudaMemcpyHostToDevice));
}
void Memory::download(void* to) const {
  LAB_CHECK(cudaMemcpy(to, data_, bytes_, cudaMemcpyDeviceToHost));
}

Operand::Operand(int batches, int64_t tokens, int heads, int head_dim)
    : batches(batches),
      heads(heads),
      head_dim(head_dim),
      tokens(tokens),
      padded(tokens + 8),
      memory(static_cast<size_t>(batches * padded * heads * head_dim) * 2, 0xff) {}

attention::Rows Operand::rows() const {
  return {memory.as<void>(), padded * heads * head_dim, int64_t{heads} * head_dim, head_dim};
}
size_t Operand::at(int64_t batch, int64_t token, int64_t head) const {
  return static_cast<size_t>(((batch * padded + token) * heads + head) * head_dim);
}
std::vector<uint16_t> Operand::host() const {
  std::vector<uint16_t> data(memory.bytes() / 2);
  memory.download(data.data());
  return data;
}
void Operand::randomise(uint32_t seed, bool bf16) {
  const int64_t width = int64_t{heads} * head_dim;
  randomise_kernel<<<1024, 256>>>(memory.as<uint16_t>(), tokens, padded, width,
                                  batches * padded * width, seed, bf16);
  LAB_CHECK(cudaGetLastError());
}

Plan::Plan(const std::vector<const ColumnMask*>& masks, TileShape shape, bool by_query) {
  const ColumnMask& first = *masks.front();
  const auto sets = static_cast<int32_t>(masks.size()) * first.heads();
  const int32_t query_tiles = (first.query_length() - 1) / shape.rows + 1;
  const int32_t key_tiles = (first.key_length() - 1) / shape.keys + 1;
  const int32_t tiles = by_query ? query_tiles : key_tiles;
  const int32_t partners = by_query ? key_tiles : query_tiles;
  const int32_t words_per_tile = (partners - 1) / 32 + 1;
  std::vector<heddle::cuda::ColumnBounds> bounds;
  std::vector<heddle::cuda::TileWord> words(size_t(sets) * tiles * words_per_tile);
  std::vector<int32_t> counts, order;
  for (size_t m = 0; m < masks.size(); ++m) {
    const ColumnMask& mask = *masks[m];
    const heddle::MaskPlan plan(mask, shape);
    for (int32_t head = 0; head < mask.heads(); ++head) {
      for (int32_t key = 0; key < mask.key_length(); ++key) {
        const heddle::MaskColumn column = mask.column(head, key);
        bounds.push_back({column.lts, column.lte, column.uts, column.ute});
      }
      const size_t begin = counts.size();
      for (int32_t tile = 0; tile < tiles; ++tile) {
        heddle::cuda::TileWord* row = words.data() + (begin + tile) * words_per_tile;
        int32_t count = 0;
        const bool cut_tile = by_query ? (tile + 1) * shape.rows > mask.query_length()
                                       : (tile + 1) * shape.keys > mask.key_length();
        const auto runs =
            by_query ? plan.runs_of_query_tile(head, tile) : plan.runs_of_key_tile(head, tile);
        for (const heddle::TileRun run : runs) {
          for (int32_t i = run.first; i < run.first + int32_t(run.count); ++i) {
            const bool cut = cut_tile || (by_query ? (i + 1) * shape.keys > mask.key_length()
                                                   : (i + 1) * shape.rows > mask.query_length());
            row[i / 32].live |= 1u << (i % 32);
            if (run.full && !cut) row[i / 32].full |= 1u << (i % 32);
            ++count;
            ++live;
            full += run.full && !cut;
          }
        }
        counts.push_back(count);
      }
      std::vector<int32_t> ranks(tiles);
      for (int32_t i = 0; i < tiles; ++i) ranks[i] = i;
      std::stable_sort(ranks.begin(), ranks.end(),
                       [&](int32_t a, int32_t b) { return counts[begin + a] > counts[begin + b]; });
      order.insert(order.end(), ranks.begin(), ranks.end());
    }
  }
  const auto keep = [&](const auto& data) {
    owned_.push_back(new Memory(data.size() * sizeof(data[0])));
    owned_.back()->upload(data.data(), data.size() * sizeof(data[0]));
    return owned_.back();
  };
  columns = {keep(bounds)->template as<heddle::cuda::ColumnBounds>(),
             static_cast<int32_t>(masks.size()),
             first.heads(),
             first.query_length(),
             first.key_length(),
             first.offset(),
             first.causal()};
  bits = {keep(words)->template as<heddle::cuda::TileWord>(),
          keep(counts)->template as<int32_t>(),
          keep(order)->template as<int32_t>(),
          tiles,
          words_per_tile,
          shape.rows,
          shape.keys};
}

float to_float(uint16_t bits, bool bf16) {
  return bf16 ? __bfloat162float(__ushort_as_bfloat16(bits)) : __half2float(__ushort_as_half(bits));
}

Problem::Problem(std::vector<const ColumnMask*> masks_, Sizes sizes_, Options options_)
    : masks(std::move(masks_)),
      sizes(sizes_),
      options(options_),
      q(sizes.batches, masks[0]->query_length(), sizes.heads, sizes.head_dim),
      k(sizes.batches, masks[0]->key_length(), sizes.kv_heads, sizes.head_dim),
      v(sizes.batches, masks[0]->key_length(), sizes.kv_heads, sizes.head_dim),
      out(sizes.batches, masks[0]->query_length(), sizes.heads, sizes.head_dim),
      lse(size_t(sizes.batches) * sizes.heads * masks[0]->query_length() * 4, 0xff),
      queue(64),
      sinks(sizes.heads),
      slopes(sizes.heads),
      sinks_device(sinks.size() * 4),
      slopes_device(slopes.size() * 4) {
  for (int head = 0; head < sizes.heads; ++head) {
    sinks[head] = 0.5f * static_cast<float>(head) - 1 + options.sink_shift;
    slopes[head] = std::exp2(-static_cast<float>(head + 2));
  }
  sinks_device.upload(sinks.data(), sinks.size() * 4);
  slopes_device.upload(slopes.data(), slopes.size() * 4);
  q.randomise(1, sizes.bf16);
  k.randomise(2, sizes.bf16);
  v.randomise(3, sizes.bf16);
}

attention::Problem Problem::common() const {
  attention::Problem p{};
  p.batches = sizes.batches;
  p.heads = sizes.heads;
  p.kv_heads = sizes.kv_heads;
  p.head_dim = sizes.head_dim;
  p.bf16 = sizes.bf16;
  p.scale = static_cast<float>(options.scale != 0 ? options.scale : 1 / std::sqrt(sizes.head_dim));
  p.softcap = static_cast<float>(options.softcap);
  p.sinks = options.sinks ? sinks_device.as<float>() : nullptr;
  p.alibi_slopes = options.alibi ? slopes_device.as<float>() : nullptr;
  const int64_t bytes = k.tokens * sizes.head_dim * 4;  // K and V of one head
  p.section = static_cast<int32_t>(
      std::clamp<int64_t>((32 << 20) / bytes, 1, int64_t{sizes.batches} * sizes.kv_heads));
  return p;
}

void Problem::fetch() {
  q_host = q.host();
  k_host = k.host();
  v_host = v.host();
}

double Problem::visible_pairs() const {
  double pairs = 0;
  for (int batch = 0; batch < sizes.batches; ++batch) {
    pairs += static_cast<double>(mask(batch).visible_pairs()) / mask(batch).heads() * sizes.heads;
  }
  return pairs;
}

RowReference Problem::reference(int batch, int head, int row) const {
  const int dim = sizes.head_dim, kv_head = head / (sizes.heads / sizes.kv_heads);
  const ColumnMask& columns = mask(batch);
  const int mask_head = columns.heads() == 1 ? 0 : kv_head;
  const double scale = common().scale;
  std::vector<std::pair<int, double>> seen;
  double maximum = -std::numeric_limits<double>::infinity();
  const uint16_t* query = q_host.data() + q.at(batch, row, head);
  for (int key = 0; key < columns.key_length(); ++key) {
    if (!columns.allowed(mask_head, row, key)) continue;
    const uint16_t* other = k_host.data() + k.at(batch, key, kv_head);
    double x = 0;
    for (int e = 0; e < dim; ++e) {
      x += double(to_float(query[e], sizes.bf16)) * double(to_float(other[e], sizes.bf16));
    }
    x *= scale;
    if (options.softcap > 0) x = options.softcap * std::tanh(x / options.softcap);
    if (options.alibi) x -= slopes[head] * std::abs(row + columns.offset() - key);
    seen.push_back({key, x});
    maximum = std::max(maximum, x);
  }
  RowReference result{std::vector<double>(dim, 0.0), -std::numeric_limits<double>::infinity()};
  if (seen.empty()) return result;
  if (options.sinks) maximum = std::max<double>(maximum, sinks[head]);
  double sum = options.sinks ? std::exp(sinks[head] - maximum) : 0;
  for (const auto& [key, x] : seen) {
    const double weight = std::exp(x - maximum);
    sum += weight;
    const uint16_t* value = v_host.data() + v.at(batch, key, kv_head);
    for (int e = 0; e < dim; ++e) result.out[e] += weight * double(to_float(value[e], sizes.bf16));
  }
  for (double& x : result.out) x /= sum;
  result.lse = maximum + std::log(sum);
  return result;
}

void parallel_for(int count, const std::function<void(int)>& body) {
  std::atomic<int> next{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i) {
    threads.emplace_back([&] {
      for (int at = next++; at < count; at = next++) body(at);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

}  // namespace lab
