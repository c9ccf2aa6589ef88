#include "heddle/model/pool_memory.h"

#include <algorithm>
#include <cstring>

namespace heddle::model {

namespace {

/// Copies rows [from, from + count) of a pool to [to, …).
void copy_rows(const Tensor& pool, int64_t from, int64_t to, int64_t count) {
  const size_t row = static_cast<size_t>(pool.dim(1)) * size_of(pool.dtype());
  auto* base = static_cast<std::byte*>(pool.raw());
  std::memcpy(base + static_cast<size_t>(to) * row, base + static_cast<size_t>(from) * row,
              static_cast<size_t>(count) * row);
}

int64_t bytes_of(const std::vector<Tensor>& tensors) {
  int64_t sum = 0;
  for (const Tensor& tensor : tensors) {
    sum += tensor.elements() * static_cast<int64_t>(size_of(tensor.dtype()));
  }
  return sum;
}

}  // namespace

PoolMemory::PoolMemory(const TransformerConfig& config, const Limits& limits, Allocator& memory) {
  const int64_t kv_width = config.decoder_key_value_heads() * config.decoder_head_width();
  const int64_t layers = config.decoder.layers;
  const bool attends = config.decoder_kind == DecoderKind::self_attention;
  pools_.dtype = limits.memory;
  for (int64_t layer = 0; layer < layers; ++layer) {
    const auto pool = [&](int64_t tokens) {
      return Tensor::empty({tokens, kv_width}, limits.memory, memory);
    };
    if (!config.is_language_model()) {
      pools_.cross_keys.push_back(pool(limits.source_tokens));
      pools_.cross_values.push_back(pool(limits.source_tokens));
    }
    if (!attends) continue;
    pools_.self_keys.push_back(pool(limits.target_tokens));
    pools_.self_values.push_back(pool(limits.target_tokens));
  }
  if (!attends) {
    pools_.cells = Tensor::empty({layers, limits.rows, config.width}, DType::f32, memory);
  }
}

int64_t PoolMemory::bytes() const {
  const Tensor& cells = pools_.cells;
  return bytes_of(pools_.cross_keys) + bytes_of(pools_.cross_values) + bytes_of(pools_.self_keys) +
         bytes_of(pools_.self_values) +
         (cells.defined() ? cells.elements() * int64_t{sizeof(float)} : 0);
}

HostPools::HostPools(const TransformerConfig& config, const Limits& limits)
    : PoolMemory(config, limits, host_allocator()) {
  const Tensor& cells = pools_.cells;
  if (cells.defined()) std::fill_n(cells.data<float>(), cells.elements(), 0.0f);
}

void HostPools::copy_past(int64_t from, int64_t to, int64_t count) {
  for (size_t layer = 0; layer < pools_.self_keys.size(); ++layer) {
    copy_rows(pools_.self_keys[layer], from, to, count);
    copy_rows(pools_.self_values[layer], from, to, count);
  }
}

float* HostPools::cell(int64_t layer, int32_t row) const {
  return pools_.cells.data<float>() + layer * pools_.cells.stride(0) + row * pools_.cells.stride(1);
}

void HostPools::copy_cell(int32_t from, int32_t to) {
  for (int64_t layer = 0; layer < pools_.cells.dim(0); ++layer) {
    std::copy_n(cell(layer, from), pools_.cells.dim(2), cell(layer, to));
  }
}

void HostPools::clear_cell(int32_t row) {
  for (int64_t layer = 0; layer < pools_.cells.dim(0); ++layer) {
    std::fill_n(cell(layer, row), pools_.cells.dim(2), 0.0f);
  }
}

}  // namespace heddle::model
