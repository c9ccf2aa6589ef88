#include "heddle/model/device_memory.h"

#include <algorithm>
#include <string>

#include "heddle/base/error.h"

namespace heddle::model {

namespace {

constexpr int64_t kHalf = 2, kSingle = 4;     // bytes of bf16 and f32
constexpr int64_t kStatistics = 2 * kSingle;  // of a norm's row
constexpr int64_t kBatchRow = 96;  // tokens, positions, groups, labels and masks of a row, about
constexpr int64_t kLogits = int64_t{128} << 20;
constexpr int64_t kRankStep = 8;  // columns of B begin at multiples of 16 bytes
constexpr int64_t kLossRow = 24;  // what is known of a row, and its factor

/// Widths of what one layer computes, in elements of a row.
struct Widths {
  Widths(const TransformerConfig& config, const LoraSettings* lora)
      : model(config.width),
        heads(config.decoder.heads),
        queries(heads * config.decoder_head_width()),
        projected(queries + 2 * config.decoder_key_value_heads() * config.decoder_head_width()),
        inner(config.decoder.ffn_width),
        wide((config.gated ? 2 : 1) * inner),
        norms_after(config.postprocess.find('n') != std::string::npos),
        norms_heads(config.head_norms) {
    if (lora == nullptr || lora->targets.empty()) return;
    const auto modules = std::ssize(adapted_modules(config, *lora));
    low_rank = (modules + config.decoder.layers - 1) / config.decoder.layers * lora->rank;
    drops = lora->dropout > 0;
    decomposes = lora->use_dora;
  }

  int64_t model, heads, queries, projected, inner, wide;
  bool norms_after, norms_heads;
  int64_t low_rank = 0;  // of all changes of a layer together
  bool drops = false;    // what they read
  bool decomposes = false;

  /// Of all projections together.
  int64_t results() const { return projected + wide + 2 * model; }
};

/// Bytes of a token that one recorded layer keeps.
int64_t layer_bytes(const Widths& of) {
  // Norms before, and behind with the sum apart; else the sum alone.
  int64_t elements = 2 * of.model * (of.norms_after ? 4 : 2);
  elements += of.projected * (of.norms_heads ? 2 : 1) + of.queries;
  elements += of.wide + (of.wide > of.inner ? of.inner : 0) + of.low_rank;
  if (of.drops) elements += 2 * of.model + of.queries + of.inner;
  if (of.decomposes) elements += 2 * of.results();
  return elements * kHalf + of.heads * kSingle + (of.norms_after ? 4 : 2) * kStatistics;
}

/// Bytes of a token; each width has memory of its own, which goes round.
int64_t gradient_bytes(const Widths& of) {
  int64_t elements = (of.norms_after ? 4 : 3) * of.model + of.queries + of.projected;
  elements += of.wide + (of.wide > of.inner ? of.inner : 0) + of.low_rank;
  if (of.drops) elements += of.model + of.queries + of.inner;
  if (of.decomposes) elements += of.results();
  return elements * kHalf;
}

int64_t scratch_bytes(const TransformerConfig& config, const Widths& of, const DevicePass& pass) {
  const int64_t outputs = config.scores ? 1 : config.target_vocabulary;
  const int64_t vocabulary = (outputs + 63) / 64 * 64;
  const int64_t logits = std::min(device_logit_rows(vocabulary), pass.labels) * vocabulary * kHalf;
  const int64_t loss = pass.labels * (2 * of.model * kHalf + kLossRow) + logits;
  if (!pass.trains) return loss;
  // The sums of dQ, and what belongs to rows and heads.
  const int64_t attention = pass.tokens * (of.queries + 2 * of.heads) * kSingle;
  const int64_t table = pass.lora == nullptr ? pass.tokens * of.model * kSingle : 0;
  // The slopes of DoRA's magnitudes, and the change of some rows.
  const int64_t slopes = of.decomposes ? pass.tokens * std::max(of.projected, of.wide) * kHalf : 0;
  const int64_t change = of.decomposes ? int64_t{32} << 20 : 0;
  return std::max({loss, attention, table, slopes, change});
}

}  // namespace

void check_on_gpu(const LoraSettings& settings) {
  HEDDLE_CHECK(settings.targets.empty() || settings.rank % kRankStep == 0, "lora_rank: found ",
               settings.rank, "; expected a multiple of ", kRankStep,
               " on a GPU. Hint: device: cpu");
}

int64_t device_logit_rows(int64_t vocabulary) { return std::max<int64_t>(kLogits / vocabulary, 1); }

DeviceActivations device_activations(const TransformerConfig& config, const DevicePass& pass) {
  const Widths of(config, pass.lora);
  const int64_t layers = config.decoder.layers, layer = layer_bytes(of);
  const int64_t ends = 2 * of.model * kHalf + kStatistics + kBatchRow;
  // Of a token; without a tape layers give back what they took.
  const int64_t kept = !pass.trains     ? of.model * kHalf + layer
                       : pass.recompute ? layers * of.model * kHalf + layer
                                        : layers * layer;
  constexpr int64_t kSmall = int64_t{8} << 20;  // pieces that depend on no token, alignment
  return {.values = pass.tokens * (ends + kept) + kSmall,
          .gradients = pass.trains ? pass.tokens * gradient_bytes(of) + kSmall : 0,
          .scratch = scratch_bytes(config, of, pass) + kSmall};
}

}  // namespace heddle::model
