// How much an engine holds, and how it works.
#pragma once

#include <cstdint>
#include <string_view>

namespace heddle {
class ThreadPool;
}

namespace heddle::decode {

/// How much an engine holds at once, and what it never writes.
struct EngineSettings {
  int rows = 64;
  int64_t source_tokens = 4096;
  int64_t target_tokens = 16384;    ///< self-attention decoders only: every row reserves its limit
  bool allow_unknown = false;       ///< the unknown token may be written
  bool fused = true;                ///< off: all logits are stored before the choice (for ablation)
  bool graphs = true;               ///< on a GPU: steps are kept as CUDA graphs (off for ablation)
  ThreadPool* threads = nullptr;    ///< share large products; null: one thread
  std::string_view instructions{};  ///< set of the kernels by name; empty: the widest there is
};

}  // namespace heddle::decode
