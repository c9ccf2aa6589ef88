#include "heddle/model/flops.h"

#include <algorithm>

namespace heddle::model {

namespace {

/// Of one stack, a token.
struct LayerWeights {
  double query, key_value, ffn;
};

LayerWeights weights_of(const TransformerConfig& config, const StackConfig& stack,
                        int64_t head_width, int64_t key_value_heads) {
  const auto width = static_cast<double>(config.width);
  return {.query = 2 * width * static_cast<double>(stack.heads * head_width),  // q and out
          .key_value = 2 * width * static_cast<double>(key_value_heads * head_width),
          .ffn = (config.gated ? 3 : 2) * width * static_cast<double>(stack.ffn_width)};
}

struct VisiblePairs {
  double all = 0, sliding = 0;
};

/// Of a text of so many tokens, the first `shared` of which were counted before.
void add_text(double tokens, double shared, double window, VisiblePairs& pairs) {
  const auto sliding = [&](double length) {
    const double seen = std::min(length, window);
    return seen * (seen + 1) / 2 + (length - seen) * seen;
  };
  pairs.all += (tokens * (tokens + 1) - shared * (shared + 1)) / 2;
  pairs.sliding += sliding(tokens) - sliding(shared);
}

VisiblePairs visible_pairs(const PackedPair& batch, double window) {
  VisiblePairs pairs;
  for (size_t s = 0; batch.groups.empty() && s + 1 < batch.target_offsets.size(); ++s) {
    add_text(batch.target_offsets[s + 1] - batch.target_offsets[s], 0, window, pairs);
  }
  for (const AnswerGroup& group : batch.groups) {
    const auto question = static_cast<double>(group.question);
    if (group.shared) add_text(question, 0, window, pairs);
    for (const int32_t answer : group.answers) {
      add_text(question + answer, group.shared ? question : 0, window, pairs);
    }
  }
  return pairs;
}

}  // namespace

double training_flops(const TransformerConfig& config, const PackedPair& batch) {
  double source_pairs = 0, cross_pairs = 0;
  const bool reads = !config.is_language_model();
  for (size_t s = 0; s + 1 < batch.target_offsets.size(); ++s) {
    const double source = reads ? batch.source_offsets[s + 1] - batch.source_offsets[s] : 0;
    const double target = batch.target_offsets[s + 1] - batch.target_offsets[s];
    source_pairs += source * source;
    cross_pairs += source * target;
  }
  const VisiblePairs pairs = visible_pairs(batch, static_cast<double>(config.window));
  const auto sources = static_cast<double>(batch.sources.size());
  const auto targets = static_cast<double>(batch.targets.size());
  const auto width = static_cast<double>(config.width);
  const int64_t encoder_width = config.encoder_head_width();
  const int64_t decoder_width = config.decoder_head_width();
  const LayerWeights encoder =
      weights_of(config, config.encoder, encoder_width, config.encoder_key_value_heads());
  const LayerWeights decoder =
      weights_of(config, config.decoder, decoder_width, config.decoder_key_value_heads());

  // A visible pair is a row of QKᵀ and one of PV: 4 · H · E operations, so 2 multiply-adds.
  const auto pair_of = [](const StackConfig& stack, int64_t head_width) {
    return 2 * static_cast<double>(stack.heads * head_width);
  };
  const double encoder_layer = sources * (encoder.query + encoder.key_value + encoder.ffn) +
                               source_pairs * pair_of(config.encoder, encoder_width);
  double decoder_layer = targets * decoder.ffn;
  if (reads) {
    decoder_layer += targets * decoder.query + sources * decoder.key_value +
                     cross_pairs * pair_of(config.decoder, decoder_width);
  }
  if (config.decoder_kind == DecoderKind::ssru) {
    decoder_layer += targets * 2 * width * width;
  } else {
    decoder_layer += targets * (decoder.query + decoder.key_value) +
                     pairs.all * pair_of(config.decoder, decoder_width);
  }
  const auto sliding =
      static_cast<double>(std::ranges::count(config.sliding_layers, true));  // layers
  const double hidden_pairs =
      sliding * (pairs.all - pairs.sliding) * pair_of(config.decoder, decoder_width);
  const double logits = config.scores ? 0 : static_cast<double>(config.target_vocabulary);
  const double multiply_adds = static_cast<double>(config.encoder.layers) * encoder_layer +
                               static_cast<double>(config.decoder.layers) * decoder_layer +
                               targets * width * logits - hidden_pairs;
  return 6 * multiply_adds;
}

}  // namespace heddle::model
