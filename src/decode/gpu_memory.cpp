#include "heddle/decode/gpu_memory.h"

#include <algorithm>

namespace heddle::decode {

namespace {

constexpr int64_t kHalf = 2, kSingle = 4;               // bytes of bf16 and f32
constexpr int64_t kProducts = 2 * (int64_t{32} << 20);  // cuBLASLt's, of encoder and steps
constexpr int64_t kLogits = int64_t{8} << 20;           // numbers at once
constexpr int64_t kTables = 160;  // bytes of a row: tokens, positions, places, masks
constexpr int64_t kChoices = 64;  // tokens and logits that are kept of a row

/// Rows that can be worth it, with several decoders and at all.
constexpr int kFewRows = 512, kLeastRows = 16;
constexpr int64_t kLeastTokens = 1024;

/// Bytes that a layer computes of a row, and what stays beside it.
int64_t work_bytes(const model::TransformerConfig& config, const model::StackConfig& stack,
                   int64_t head_width, int64_t kv_heads) {
  const int64_t queries = stack.heads * head_width, keys = kv_heads * head_width;
  const int64_t attention = 2 * queries + 2 * keys;
  const int64_t feed_forward = stack.ffn_width * (config.gated ? 3 : 1);
  const int64_t gates = 3 * config.width;  // of an SSRU
  const int64_t of_layer = std::max({attention, feed_forward, gates});
  return kHalf * (3 * config.width + of_layer) + kSingle * stack.heads + kTables;
}

}  // namespace

int64_t engine_bytes(const model::TransformerConfig& config, const EngineSettings& engine,
                     int64_t encode_tokens) {
  const int64_t head_width = config.decoder_head_width(), rows = engine.rows;
  const int64_t keys = config.decoder_key_value_heads() * head_width;
  const int64_t of_token = config.decoder.layers * 2 * keys * kHalf;  // keys and values
  int64_t slots = engine.source_tokens * of_token;
  if (config.decoder_kind == model::DecoderKind::self_attention) {
    slots += engine.target_tokens * of_token;
  } else {
    slots += rows * config.decoder.layers * config.width * kSingle;
  }
  const int64_t padded = (config.target_vocabulary + 63) / 64 * 64;
  const int64_t logits =
      kSingle * std::max({kLogits, 64 * rows, padded}) + rows * kChoices * (kSingle + kSingle);
  const int64_t encoder =
      encode_tokens * (work_bytes(config, config.encoder, config.encoder_head_width(),
                                  config.encoder_key_value_heads()) +
                       kHalf * 2 * keys);
  const int64_t steps =
      rows * work_bytes(config, config.decoder, head_width, config.decoder_key_value_heads());
  return slots + logits + encoder + steps + kProducts;
}

std::optional<GpuShape> fitted(GpuShape shape, int64_t room,
                               const std::function<int64_t(const GpuShape&)>& bytes) {
  while (bytes(shape) > room) {
    if (shape.decoders > 1 && shape.rows <= kFewRows) {
      --shape.decoders;
    } else if (shape.rows > kLeastRows) {
      shape.rows = std::max(shape.rows / 2, kLeastRows);
      shape.encode_tokens = std::max(shape.encode_tokens / 2, kLeastTokens);
    } else {
      return std::nullopt;
    }
  }
  return shape;
}

}  // namespace heddle::decode
