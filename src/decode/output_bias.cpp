#include "heddle/decode/output_bias.h"

#include <algorithm>

#include "heddle/decode/choose.h"

namespace heddle::decode {

std::vector<float> output_bias(const model::TransformerConfig& config, std::span<const float> given,
                               bool allow_unknown) {
  std::vector<float> bias(static_cast<size_t>(config.target_vocabulary), 0.0f);
  std::copy(given.begin(), given.end(), bias.begin());
  const auto forbid = [&](int32_t token) {
    if (token >= 0 && token != config.eos) bias[static_cast<size_t>(token)] = kNever;
  };
  // Those of a language model may be what ends its turns, or begins its words.
  if (!config.is_language_model()) {
    forbid(config.pad);
    if (!allow_unknown) forbid(config.unk);
  }
  for (const int32_t token : config.never_written) forbid(token);
  return bias;
}

}  // namespace heddle::decode
