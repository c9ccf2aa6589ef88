// How much arithmetic a model is: the yardstick of training speed (MFU).
#pragma once

#include "heddle/model/config.h"
#include "heddle/model/transformer.h"

namespace heddle::model {

/// Floating-point operations of the forward and backward of a packed batch: 2 a weight and token
/// forward, twice that backward; attention by its visible pairs. Recomputation is not counted, nor
/// are norms, activations and the softmax. (Narayanan et al. 2021 count the same.)
double training_flops(const TransformerConfig& config, const PackedPair& batch);

}  // namespace heddle::model
