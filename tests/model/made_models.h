// Small models with seeded weights, for tests of the formats.
#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <string>

#include "heddle/model/parameters.h"

namespace heddle::model::testing {

inline TransformerConfig small_config() {
  TransformerConfig config;
  config.width = 8;
  config.source_vocabulary = config.target_vocabulary = 12;
  config.encoder = {.layers = 2, .heads = 2, .key_value_heads = 0, .ffn_width = 12};
  config.decoder = {.layers = 1, .heads = 2, .key_value_heads = 0, .ffn_width = 12};
  config.activation = ActivationKind::relu;
  config.norm_epsilon = 1e-6;
  config.scale_embedding = true;
  config.positions = Positions::sinusoidal_marian;
  return config;
}

inline ModelFiles made_model(const TransformerConfig& config) {
  ModelFiles model;
  model.config = config;
  uint32_t state = 1;
  for (const ParameterShape& parameter : parameters_of(config)) {
    Tensor values = Tensor::empty(parameter.shape, DType::f32);
    for (int64_t i = 0; i < values.elements(); ++i) {
      state = state * 1664525u + 1013904223u;
      values.data<float>()[i] = static_cast<float>(state >> 8) / 16777216.0f - 0.5f;
    }
    model.parameters.add(parameter.name, {values});
  }
  return model;
}

inline bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.defined() != b.defined()) return false;
  if (!a.defined()) return true;
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.elements()) * size_of(a.dtype())) == 0;
}

inline void expect_same(const ModelFiles& a, const ModelFiles& b) {
  EXPECT_EQ(a.config, b.config);
  EXPECT_EQ(a.parameters.size(), b.parameters.size());
  for (const auto& [name, parameter] : a.parameters) {
    const Parameter* other = b.parameters.find(name);
    ASSERT_NE(other, nullptr) << name;
    EXPECT_TRUE(same_bits(parameter.values, other->values)) << name;
    EXPECT_TRUE(same_bits(parameter.scales, other->scales)) << name;
    EXPECT_EQ(parameter.input_scale, other->input_scale) << name;
  }
}

}  // namespace heddle::model::testing
