#include "heddle/model/config_rotary.h"

#include <algorithm>
#include <cmath>

namespace heddle::model {

namespace {

constexpr int64_t kMostPositions = int64_t{1} << 30;

}  // namespace

RotaryConfig read_rotary_scaling(const io::Field& json, double base, int64_t max_positions) {
  RotaryConfig rotary{.base = json.number_or("rope_theta", base)};
  const std::string type = json.text_or("rope_type", json.text_or("type", "default"));
  if (json.number_or("partial_rotary_factor", 1) != 1) {
    json["partial_rotary_factor"].fail("1: heads are turned as a whole");
  }
  if (type == "default") return rotary;
  rotary.original_positions =
      json.integer_or("original_max_position_embeddings", max_positions, 1, kMostPositions);
  const auto original = static_cast<double>(rotary.original_positions);
  if (type == "linear") {
    rotary.scaling = RotaryScaling::linear;
    rotary.factor = json["factor"].number();
    rotary.original_positions = 0;
  } else if (type == "llama3") {
    rotary.scaling = RotaryScaling::llama3;
    rotary.factor = json["factor"].number();
    rotary.low_frequency = json["low_freq_factor"].number();
    rotary.high_frequency = json["high_freq_factor"].number();
  } else if (type == "yarn") {
    rotary.scaling = RotaryScaling::yarn;
    rotary.factor = json.number_or("factor", static_cast<double>(max_positions) / original);
    rotary.fast_turns = json.number_or("beta_fast", 32);
    rotary.slow_turns = json.number_or("beta_slow", 1);
    rotary.whole_dimensions = json.boolean_or("truncate", true);
    const double one = json.number_or("mscale", 0), all = json.number_or("mscale_all_dim", 0);
    const double grown = rotary.factor > 1 ? 0.1 * std::log(rotary.factor) : 0;
    const double magnitude = one != 0 && all != 0 ? (grown * one + 1) / (grown * all + 1)
                                                  : yarn_magnitude(rotary.factor);
    rotary.magnitude = json.number_or("attention_factor", magnitude);
  } else {
    json[json.find("rope_type") ? "rope_type" : "type"].fail("default, linear, llama3 or yarn");
  }
  return rotary;
}

io::Value rotary_scaling_to_json(const RotaryConfig& rotary) {
  io::Value json;
  switch (rotary.scaling) {
    case RotaryScaling::none:
      return json;
    case RotaryScaling::linear:
      json.set("rope_type", "linear");
      json.set("factor", rotary.factor);
      return json;
    case RotaryScaling::llama3:
      json.set("rope_type", "llama3");
      json.set("factor", rotary.factor);
      json.set("low_freq_factor", rotary.low_frequency);
      json.set("high_freq_factor", rotary.high_frequency);
      break;
    case RotaryScaling::yarn:
      json.set("rope_type", "yarn");
      json.set("factor", rotary.factor);
      json.set("beta_fast", rotary.fast_turns);
      json.set("beta_slow", rotary.slow_turns);
      json.set("truncate", rotary.whole_dimensions);
      json.set("attention_factor", rotary.magnitude);
      break;
  }
  json.set("original_max_position_embeddings", rotary.original_positions);
  return json;
}

void raise_positions(TransformerConfig& config) {
  if (config.rotary.scaling != RotaryScaling::yarn || config.max_positions == 0) return;
  const double reached =
      config.rotary.factor * static_cast<double>(config.rotary.original_positions);
  if (!(reached < static_cast<double>(kMostPositions))) return;  // config.check says what is wrong
  config.max_positions = std::max(config.max_positions, static_cast<int64_t>(reached));
}

double yarn_magnitude(double factor) { return factor > 1 ? 0.1 * std::log(factor) + 1 : 1; }

}  // namespace heddle::model
