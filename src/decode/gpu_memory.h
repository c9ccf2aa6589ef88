// What decoding takes of a GPU's memory, and the largest decoders that a budget has room for. Plain
// sums, also where there is no GPU; the tests on one hold them to what is taken.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>

#include "heddle/decode/engine_settings.h"
#include "heddle/model/config.h"

namespace heddle::decode {

/// CUDA's context, the kernels and cuBLASLt, about.
inline constexpr int64_t kGpuLibraries = int64_t{640} << 20;

/// Bytes of one engine beside the weights: slots, logits, the work of the encoder and of steps.
int64_t engine_bytes(const model::TransformerConfig& config, const EngineSettings& engine,
                     int64_t encode_tokens);

/// Decoders side by side, and how much each does at once.
struct GpuShape {
  int decoders = 1;
  int rows = 1;
  int64_t encode_tokens = 1;

  bool operator==(const GpuShape&) const = default;
};

/// The shape or, while `bytes` of it is more than `room`, smaller ones: first fewer rows, then
/// fewer decoders, then fewer rows still. Nothing when the smallest does not fit either.
std::optional<GpuShape> fitted(GpuShape shape, int64_t room,
                               const std::function<int64_t(const GpuShape&)>& bytes);

}  // namespace heddle::decode
