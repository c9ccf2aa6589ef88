// Models that the kernels of a GPU take, and one in both engines: that of the processor, in f32,
// and that of the GPU, with the same sentences in the same slots.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "heddle/base/random.h"
#include "heddle/decode/gpu.h"
#include "heddle/decode/model_engine.h"
#include "tests/model/random_model.h"

namespace heddle::decode::test {

using model::DecoderKind;
using model::TransformerConfig;

inline TransformerConfig gpu_config(DecoderKind kind) {
  TransformerConfig config;
  config.width = 64;
  config.source_vocabulary = config.target_vocabulary = 203;  // no multiple of anything
  config.encoder = {.layers = 2, .heads = 2, .ffn_width = 96};
  config.decoder = {.layers = 2, .heads = 4, .ffn_width = 128};
  config.decoder_kind = kind;
  config.positions = model::Positions::sinusoidal_marian;
  config.scale_embedding = true;
  config.eos = 0;
  config.unk = 1;
  return config;
}

struct GpuCase {
  const char* name;
  TransformerConfig config;
};

inline std::vector<GpuCase> gpu_cases() {
  std::vector<GpuCase> cases;
  const auto add = [&](const char* name, DecoderKind kind,
                       const std::function<void(TransformerConfig&)>& change) {
    cases.push_back({name, gpu_config(kind)});
    change(cases.back().config);
  };
  const auto attends = DecoderKind::self_attention;
  add("SSRU", DecoderKind::ssru, [](auto&) {});
  add("self-attention", attends, [](auto&) {});
  add("deep encoder, one decoder layer", attends, [](auto& config) {
    config.encoder.layers = 6;
    config.decoder.layers = 1;
  });
  add("grouped heads, wide, rotary", attends, [](auto& config) {
    config.encoder.key_value_heads = 1;
    config.decoder.key_value_heads = 2;
    config.head_width = 40;
    config.positions = model::Positions::rotary;
  });
  add("norm before, gated, a start token", attends, [](auto& config) {
    config.preprocess = "n";
    config.postprocess = "da";
    config.postprocess_top = "n";
    config.gated = true;
    config.decoder_start = 202;
  });
  add("learned positions, tables apart", DecoderKind::ssru, [](auto& config) {
    config.positions = model::Positions::learned;
    config.max_positions = 60;
    config.ties = model::Ties::none;
  });
  return cases;
}

inline std::vector<int32_t> drawn_source(Random& random, int64_t longest) {
  std::vector<int32_t> tokens;
  for (int64_t n = random.between(0, longest - 1); n > 0; --n) {
    tokens.push_back(static_cast<int32_t>(random.between(2, 201)));
  }
  tokens.push_back(0);
  return tokens;
}

/// Both engines of one model.
struct EnginePair {
  model::ModelFiles files;
  model::Transformer transformer;
  GpuModel gpu_model;
  EngineSettings settings;
  ModelEngine host;
  GpuModel::Made gpu;

  explicit EnginePair(const TransformerConfig& config, int rows = 40, bool graphs = true,
                      Half half = Half::bf16)
      : files(model::random_model(config)),
        transformer(files, model::Precision::f32),
        gpu_model(files, half),
        settings{.rows = rows,
                 .source_tokens = rows * int64_t{60},
                 .target_tokens = rows * int64_t{60},
                 .graphs = graphs},
        host(transformer, settings),
        gpu(gpu_model.engine(settings)) {}
  std::vector<Engine*> both() { return {&host, gpu.engine.get()}; }
};

/// Both with the same sentences in the same slots.
inline std::vector<int> admit_and_encode(EnginePair& pair,
                                         const std::vector<std::vector<int32_t>>& sources,
                                         int64_t limit) {
  std::vector<int32_t> tokens, offsets{0};
  for (const auto& source : sources) {
    tokens.insert(tokens.end(), source.begin(), source.end());
    offsets.push_back(static_cast<int32_t>(tokens.size()));
  }
  std::vector<int> slots[2];
  for (size_t i = 0; i < 2; ++i) {
    for (const auto& source : sources) {
      slots[i].push_back(pair.both()[i]->admit(std::ssize(source), limit).value());
    }
    pair.both()[i]->encode(tokens, offsets, slots[i]);
  }
  EXPECT_EQ(slots[0], slots[1]);
  return slots[0];
}

}  // namespace heddle::decode::test
