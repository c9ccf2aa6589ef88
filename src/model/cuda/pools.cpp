#include "heddle/model/cuda/pools.h"

#include "heddle/ops/cuda/decode.h"

namespace heddle::model::cuda {

DevicePools::DevicePools(const TransformerConfig& config, const Limits& limits,
                         heddle::cuda::Context& context)
    : PoolMemory(config, limits, heddle::cuda::block_allocator(context.device().index)),
      context_(context),
      width_(config.decoder_key_value_heads() * config.decoder_head_width()) {
  std::vector<void*> addresses;
  for (const Tensor& pool : pools_.self_keys) addresses.push_back(pool.raw());
  for (const Tensor& pool : pools_.self_values) addresses.push_back(pool.raw());
  pools_of_past_ = static_cast<int32_t>(addresses.size());
  if (pools_.cells.defined()) heddle::cuda::zero(pools_.cells, context.stream());
  if (addresses.empty()) return;
  const auto bytes = static_cast<int64_t>(addresses.size() * sizeof(void*));
  pool_addresses_ =
      heddle::cuda::to_gpu(Tensor::wrap(addresses.data(), {bytes}, {1}, DType::i8), context_);
  context_.synchronize();
}

/// Copies that are done together may not need each other's results.
void DevicePools::note(int32_t from, int32_t to) {
  if (written_.contains(from) || written_.contains(to) || read_.contains(to)) flush();
  read_.insert(from);
  written_.insert(to);
  from_.push_back(from);
  to_.push_back(to);
}

void DevicePools::copy_past(int64_t from, int64_t to, int64_t count) {
  note(static_cast<int32_t>(from), static_cast<int32_t>(to));
  count_.push_back(static_cast<int32_t>(count));
}

void DevicePools::copy_cell(int32_t from, int32_t to) {
  // Clearings come behind the copies, so those that were noted before this one are done now.
  if (!cleared_.empty()) flush();
  note(from, to);
}

void DevicePools::clear_cell(int32_t cell) { cleared_.push_back(cell); }

void DevicePools::flush() {
  if (from_.empty() && cleared_.empty()) return;
  if (!from_.empty()) queue(from_, to_, count_);
  if (!cleared_.empty()) {
    queue(std::vector<int32_t>(cleared_.size(), -1), cleared_, {});
  }
  from_.clear();
  to_.clear();
  count_.clear();
  cleared_.clear();
  read_.clear();
  written_.clear();
}

void DevicePools::queue(const std::vector<int32_t>& from, const std::vector<int32_t>& to,
                        const std::vector<int32_t>& count) {
  copied_.wait();  // the staging memory is read no more
  staging_.clear();
  const int64_t from_at = staging_.put<int32_t>(from), to_at = staging_.put<int32_t>(to);
  const int64_t count_at = staging_.put<int32_t>(count);
  const Tensor on_gpu = Tensor::empty({staging_.used()}, DType::i8, context_.memory());
  heddle::cuda::copy(staging_.memory().slice(0, 0, staging_.used()), on_gpu, context_.stream());
  copied_.record(context_.stream());
  const auto* base = static_cast<const std::byte*>(on_gpu.raw());
  const auto table = [base](int64_t at) { return reinterpret_cast<const int32_t*>(base + at); };
  const auto copies = static_cast<int32_t>(from.size());
  if (pools_.cells.defined()) {
    HEDDLE_CUDA_CHECK(
        ops::cuda::launch_copy_cells({.copies = copies,
                                      .layers = static_cast<int32_t>(pools_.cells.dim(0)),
                                      .from = table(from_at),
                                      .to = table(to_at),
                                      .cells = pools_.cells.data<float>(),
                                      .width = pools_.cells.dim(2),
                                      .layer_stride = pools_.cells.stride(0)},
                                     context_.stream()));
    return;
  }
  HEDDLE_CUDA_CHECK(
      ops::cuda::launch_copy_in_pools({.copies = copies,
                                       .pools = pools_of_past_,
                                       .from = table(from_at),
                                       .to = table(to_at),
                                       .count = table(count_at),
                                       .pool = static_cast<BFloat16* const*>(pool_addresses_.raw()),
                                       .width = width_},
                                      context_.stream()));
}

}  // namespace heddle::model::cuda
