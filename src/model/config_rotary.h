// Rotary positions in the config.json of language models: rope_scaling with rope_theta beside it,
// or the rope_parameters that have both.
#pragma once

#include "heddle/io/value.h"
#include "heddle/model/config.h"

namespace heddle::model {

/// `base` and `max_positions` stand in for what `json` does not say of itself.
RotaryConfig read_rotary_scaling(const io::Field& json, double base, int64_t max_positions);

/// rope_scaling without rope_theta; null where nothing is scaled.
io::Value rotary_scaling_to_json(const RotaryConfig& rotary);

/// Raises max_positions to what YaRN stretches the model to; configs often tell where it began.
void raise_positions(TransformerConfig& config);

/// What YaRN multiplies cosines and sines with unless a config says otherwise.
double yarn_magnitude(double factor);

}  // namespace heddle::model
