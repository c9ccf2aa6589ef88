#include "heddle/model/parameters.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/parameter_names.h"

namespace heddle::model {

void Parameters::add(std::string name, Parameter parameter) {
  const auto [at, added] = map_.try_emplace(std::move(name));
  HEDDLE_CHECK(added, "parameters: ", at->first, " is there twice; expected once");
  at->second = std::move(parameter);
}

const Parameter* Parameters::find(std::string_view name) const {
  const auto at = map_.find(name);
  return at == map_.end() ? nullptr : &at->second;
}

Parameter* Parameters::find(std::string_view name) {
  const auto at = map_.find(name);
  return at == map_.end() ? nullptr : &at->second;
}

const Parameter& Parameters::require(std::string_view name, const Shape& shape) const {
  const Parameter* parameter = find(name);
  HEDDLE_CHECK(parameter != nullptr, "parameters: ", name, " is missing; expected ", shape.text());
  HEDDLE_CHECK(parameter->values.shape() == shape, "parameters: ", name, " is ",
               parameter->values.shape().text(), "; expected ", shape.text());
  return *parameter;
}

void Parameters::remove(std::string_view name) {
  const auto at = map_.find(name);
  if (at != map_.end()) map_.erase(at);
}

namespace {

/// Writes f(i) to element i of a new f32 tensor.
template <typename F>
Tensor filled(const Shape& shape, const F& value_at) {
  Tensor out = Tensor::empty(shape, DType::f32);
  float* to = out.data<float>();
  const int64_t count = shape.elements();
  for (int64_t i = 0; i < count; ++i) to[i] = value_at(i);
  return out;
}

Tensor dequantised(const Parameter& parameter) {
  const Tensor& values = parameter.values;
  const auto* q = values.data<int8_t>();
  const auto* scales = parameter.scales.data<float>();
  const int64_t rows = values.dim(0);
  const int64_t row_length = rows > 0 ? values.elements() / rows : 1;
  const bool each = parameter.scales.elements() == rows;
  return filled(values.shape(), [&](int64_t i) {
    return static_cast<float>(q[i]) * scales[each ? i / row_length : 0];
  });
}

void check_scales(const std::string& name, const Parameter& parameter) {
  if (parameter.values.dtype() != DType::i8) {
    HEDDLE_CHECK(!parameter.scales.defined() && parameter.input_scale == 0, "parameters: ", name,
                 " is ", name_of(parameter.values.dtype()), " with scales; expected them with i8");
    return;
  }
  HEDDLE_CHECK(parameter.values.rank() == 2, "parameters: ", name, " is i8 ",
               parameter.values.shape().text(), "; expected a matrix");
  const Tensor& scales = parameter.scales;
  const int64_t rows = parameter.values.dim(0);
  HEDDLE_CHECK(scales.defined() && scales.dtype() == DType::f32 && scales.rank() == 1 &&
                   (scales.dim(0) == 1 || scales.dim(0) == rows),
               "parameters: ", name, " is i8 with scales ",
               scales.defined() ? scales.shape().text() : "missing", "; expected f32 [1] or [",
               rows, "]");
  const auto* scale = scales.data<float>();
  for (int64_t i = 0; i < scales.elements(); ++i) {
    HEDDLE_CHECK(std::isfinite(scale[i]) && scale[i] >= 0, "parameters: scale ", i, " of ", name,
                 " is ", scale[i], "; expected a finite number, not below 0");
  }
  HEDDLE_CHECK(std::isfinite(parameter.input_scale) && parameter.input_scale >= 0,
               "parameters: the input scale of ", name, " is ", parameter.input_scale,
               "; expected a finite number above 0, or 0 for none");
}

void check_dtype(const std::string& name, const Tensor& values) {
  const DType dtype = values.dtype();
  HEDDLE_CHECK(
      dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16 || dtype == DType::i8,
      "parameters: ", name, " is ", name_of(dtype), "; expected f32, f16, bf16 or i8");
  HEDDLE_CHECK(values.device().type == DeviceType::cpu && values.is_contiguous(),
               "parameters: ", name,
               " is strided or not in host memory; expected a contiguous host tensor");
}

/// Collects the list of parameters_of.
class Lister {
 public:
  explicit Lister(const TransformerConfig& config) : config_(config), names_(config) {}

  std::vector<ParameterShape> all() {
    embeddings();
    if (!config_.is_language_model()) {
      stack(Side::encoder, config_.encoder, config_.encoder_key_value_heads());
    }
    stack(Side::decoder, config_.decoder, config_.decoder_key_value_heads());
    return std::move(list_);
  }

 private:
  void add(std::string name, Shape shape) { list_.push_back({std::move(name), shape}); }

  void embeddings() {
    const int64_t width = config_.width;
    const std::string source = names_.table(Side::encoder), target = names_.table(Side::decoder);
    add(source, {config_.source_vocabulary, width});
    if (target != source) add(target, {config_.target_vocabulary, width});
    const int64_t outputs = config_.scores ? 1 : config_.target_vocabulary;
    if (names_.output() != target) add(names_.output(), {outputs, width});
    if (config_.output_bias) add("final_logits_bias", {config_.target_vocabulary});
  }

  void linear(const std::string& name, int64_t out, int64_t in, bool bias) {
    add(name + ".weight", {out, in});
    if (bias) add(name + ".bias", {out});
  }

  void norm(const std::string& name) {
    add(name + ".weight", {config_.width});
    if (config_.norm_bias) add(name + ".bias", {config_.width});
  }

  /// The norms around one sublayer.
  void norms(const NormNames& names) {
    for (const std::string& name : {names.after, names.before}) {
      if (!name.empty()) norm(name);
    }
  }

  void attention(const AttentionNames& names, const StackConfig& stack, int64_t kv_heads) {
    const int64_t width = config_.width;
    const int64_t head = config_.head_width != 0 ? config_.head_width : width / stack.heads;
    const int64_t queries = stack.heads * head, keys = kv_heads * head;
    linear(names.queries, queries, width, config_.attention_bias);
    linear(names.keys, keys, width, config_.attention_bias);
    linear(names.values, keys, width, config_.attention_bias);
    linear(names.out, width, queries, config_.attention_bias && config_.out_bias);
    if (!names.query_norm.empty()) {
      add(names.query_norm + ".weight", {head});
      add(names.key_norm + ".weight", {head});
    }
    norms(names.norms);
  }

  void feed_forward(const FeedForwardNames& names, int64_t ffn_width) {
    linear(names.in, ffn_width, config_.width, config_.ffn_bias);
    if (!names.gate.empty()) linear(names.gate, ffn_width, config_.width, config_.ffn_bias);
    linear(names.out, config_.width, ffn_width, config_.ffn_bias);
    norms(names.norms);
  }

  void ssru(const std::string& layer) {
    linear(layer + ".ssru.input_proj", config_.width, config_.width, false);
    linear(layer + ".ssru.forget_proj", config_.width, config_.width, true);
    norms(names_.ssru_norms(layer));
  }

  void stack(Side side, const StackConfig& stack, int64_t kv_heads) {
    const bool decodes = side == Side::decoder;
    const std::string name = names_.stack(side);
    if (config_.positions == Positions::learned) {
      add(name + ".embed_positions.weight",
          {config_.max_positions + config_.position_offset, config_.width});
    }
    if (config_.normalizes_embedding()) norm(name + ".layernorm_embedding");
    for (int64_t i = 0; i < stack.layers; ++i) {
      const std::string layer = names_.layer(side, i);
      if (decodes && config_.decoder_kind == DecoderKind::ssru) {
        ssru(layer);
      } else {
        attention(names_.self_attention(layer), stack, kv_heads);
      }
      if (decodes && !config_.is_language_model()) {
        attention(names_.cross_attention(layer), stack, kv_heads);
      }
      feed_forward(names_.feed_forward(layer), stack.ffn_width);
    }
    if (config_.normalizes_top()) norm(names_.top_norm(side));
  }

  const TransformerConfig& config_;
  const ParameterNames names_;
  std::vector<ParameterShape> list_;
};

}  // namespace

Tensor to_f32(const Parameter& parameter) {
  const Tensor& values = parameter.values;
  switch (values.dtype()) {
    case DType::f32:
      return values;
    case DType::f16: {
      const auto* from = values.data<Float16>();
      return filled(values.shape(), [from](int64_t i) { return static_cast<float>(from[i]); });
    }
    case DType::bf16: {
      const auto* from = values.data<BFloat16>();
      return filled(values.shape(), [from](int64_t i) { return static_cast<float>(from[i]); });
    }
    case DType::i8:
      return dequantised(parameter);
    default:
      HEDDLE_CHECK(false, "parameters: found ", name_of(values.dtype()),
                   "; expected f32, f16, bf16 or i8");
  }
  return {};
}

std::vector<ParameterShape> parameters_of(const TransformerConfig& config) {
  return Lister(config).all();
}

bool is_quantised(std::string_view name, const Shape& shape) {
  return shape.rank() == 2 && !name.ends_with("embed_positions.weight");
}

void check_parameters(const TransformerConfig& config, const Parameters& parameters) {
  config.check();
  const std::vector<ParameterShape> expected = parameters_of(config);
  for (const ParameterShape& each : expected) {
    const Parameter& parameter = parameters.require(each.name, each.shape);
    check_dtype(each.name, parameter.values);
    check_scales(each.name, parameter);
  }
  if (parameters.size() == expected.size()) return;
  for (const auto& entry : parameters) {
    const bool known =
        std::any_of(expected.begin(), expected.end(),
                    [&](const ParameterShape& each) { return each.name == entry.first; });
    HEDDLE_CHECK(known, "parameters: ", entry.first, " ", entry.second.values.shape().text(),
                 " has no place in this model; expected one of the ", expected.size(),
                 " parameters of its config");
  }
}

}  // namespace heddle::model
