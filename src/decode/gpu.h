// Models and engines on a GPU, for builds with CUDA and without: there a model cannot be made.
#pragma once

#include <cstdint>
#include <memory>

#include "heddle/decode/engine.h"
#include "heddle/decode/engine_settings.h"
#include "heddle/decode/profile.h"
#include "heddle/model/config.h"
#include "heddle/model/parameters.h"

namespace heddle::decode {

/// Throws, with a hint, unless this build has CUDA and there is a GPU that it can use.
void require_gpu();

/// Bytes of the GPU's memory that nobody uses.
int64_t free_gpu_memory();

/// The weights of one model on a GPU; engines share them, each on a stream of its own.
class GpuModel {
 public:
  GpuModel(const model::ModelFiles& files, Half half);  ///< of weights and rows
  ~GpuModel();
  GpuModel(GpuModel&&) noexcept;
  GpuModel& operator=(GpuModel&&) noexcept;

  const model::TransformerConfig& config() const;
  int64_t bytes() const;  ///< of the weights, on the GPU

  struct Made {
    std::unique_ptr<Engine> engine;
    const Profile* profile;  ///< of the engine, which owns it
  };
  /// The model must outlive the engine.
  Made engine(const EngineSettings& settings) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace heddle::decode
