// Engines on a GPU in a build without CUDA: there are none.
#include "heddle/base/error.h"
#include "heddle/decode/gpu.h"

namespace heddle::decode {

struct GpuModel::State {};

void require_gpu() {
  heddle::detail::throw_error(
      "--device: found cuda, but this build has no CUDA; expected cpu. "
      "Hint: build where nvcc is, with HEDDLE_CUDA=ON");
}

int64_t free_gpu_memory() { return 0; }

GpuModel::GpuModel(const model::ModelFiles&, Half) { require_gpu(); }
GpuModel::~GpuModel() = default;
GpuModel::GpuModel(GpuModel&&) noexcept = default;
GpuModel& GpuModel::operator=(GpuModel&&) noexcept = default;

const model::TransformerConfig& GpuModel::config() const {
  heddle::detail::throw_error("CUDA: this build has none");
}
int64_t GpuModel::bytes() const { return 0; }
GpuModel::Made GpuModel::engine(const EngineSettings&) const {
  heddle::detail::throw_error("CUDA: this build has none");
}

}  // namespace heddle::decode
