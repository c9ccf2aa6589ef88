// What is added to logits before any choice: the model's bias, and −inf for what is never written.
#pragma once

#include <span>
#include <vector>

#include "heddle/model/config.h"

namespace heddle::decode {

/// [V]; `given` is the model's bias, which may be shorter or empty.
std::vector<float> output_bias(const model::TransformerConfig& config, std::span<const float> given,
                               bool allow_unknown);

}  // namespace heddle::decode
