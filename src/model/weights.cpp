#include "heddle/model/weights.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/parameter_names.h"

namespace heddle::model {

namespace {

/// quick_gelu(x) = x·sigmoid(b x) = silu(b x) / b with this b: computed as silu, with b taken into
/// the weights before and 1 / b into those behind.
constexpr float kQuickGelu = 1.702f;

ops::Activation activation_of(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::relu:
      return ops::Activation::relu;
    case ActivationKind::gelu:
      return ops::Activation::gelu;
    case ActivationKind::gelu_tanh:
      return ops::Activation::gelu_tanh;
    case ActivationKind::quick_gelu:
    case ActivationKind::silu:
      return ops::Activation::silu;
  }
  HEDDLE_CHECK(false, "model: activation ", static_cast<int>(kind), " is not known");
}

Tensor scaled(const Tensor& values, float factor) {
  const Tensor from = to_f32({.values = values, .scales = {}, .input_scale = 0});
  Tensor out = Tensor::empty(from.shape(), DType::f32);
  std::transform(from.data<float>(), from.data<float>() + from.elements(), out.data<float>(),
                 [factor](float value) { return value * factor; });
  return out;
}

/// factor · weight, still quantised where it is.
ops::Weight scaled(ops::Weight weight, float factor) {
  Tensor& numbers = weight.scales.defined() ? weight.scales : weight.values;
  numbers = scaled(numbers, factor);
  return weight;
}

ops::Precision held_as(const Parameter& parameter, ops::Precision wanted) {
  if (wanted != ops::Precision::native) return wanted;
  switch (parameter.values.dtype()) {
    case DType::i8:
      return ops::Precision::int8;
    case DType::f16:
    case DType::bf16:
      return ops::Precision::bf16;
    default:
      return ops::Precision::f32;
  }
}

bool has(const std::string& letters, char letter) {
  return letters.find(letter) != std::string::npos;
}

/// Makes packed weights from named parameters, which check_parameters has found good.
class Packer {
 public:
  Packer(const ModelFiles& files, ops::Precision precision, Weights::Matrices matrices)
      : config_(files.config),
        names_(files.config),
        parameters_(files.parameters),
        precision_(precision),
        matrices_(matrices) {
    for (const ParameterShape& each : parameters_of(config_)) {
      numbers_.emplace(each.name, static_cast<ParameterNumber>(numbers_.size()));
    }
  }

  ParameterNumber number(const std::string& name) const {
    const auto at = numbers_.find(name);
    return at == numbers_.end() ? -1 : at->second;
  }

  int64_t bytes() const { return bytes_; }

  ops::Matrix matrix(const std::string& name) {
    const ops::Weight from = weight(name);
    ops::Matrix made = stack({&from, 1});
    bytes_ += static_cast<int64_t>(made.bytes());
    return made;
  }

  Vector vector(const std::string& name) {
    const Tensor values = to_f32(parameter(name));
    bytes_ += values.elements() * int64_t{sizeof(float)};
    return {values.data<float>(), values.data<float>() + values.elements()};
  }

  /// The projections name.weight, with their biases where they have one.
  Projection projection(const std::vector<std::string>& names) {
    Projection made;
    std::vector<ops::Weight> weights;
    for (const std::string& name : names) weights.push_back(weight(name + ".weight"));
    const bool alike = std::all_of(weights.begin(), weights.end(), [&](const ops::Weight& each) {
      return held_as(each, precision_) == held_as(weights[0], precision_) &&
             each.input_scale == weights[0].input_scale;
    });
    for (size_t i = 0; i < names.size(); i += alike ? names.size() : 1) {
      made.parts.push_back(alike ? stacked(names, weights) : stacked({names[i]}, {&weights[i], 1}));
      made.width += made.parts.back().matrix.rows();
    }
    return made;
  }

  NormWeights norm(const std::string& name) {
    NormWeights made{.weight = vector(name + ".weight"),
                     .bias = {},
                     .weight_number = number(name + ".weight"),
                     .bias_number = number(name + ".bias")};
    if (config_.norm_bias) made.bias = vector(name + ".bias");
    return made;
  }

  /// The norms and the residual around a sublayer; next_step is set by `link`.
  Wrap wrap(const NormNames& names) {
    Wrap made = ends_of(config_.postprocess);
    if (!names.after.empty()) made.after = norm(names.after);
    if (!names.before.empty()) made.before = norm(names.before);
    made.drops_input = has(config_.preprocess, 'd');
    return made;
  }

  /// What the letters of a postprocess say of the residual.
  static Wrap ends_of(const std::string& letters) {
    Wrap made;
    made.adds = has(letters, 'a');
    made.adds_first = made.adds && letters.find('a') < letters.find('n');
    made.drops_result = has(letters, 'd');
    return made;
  }

  SelfAttention self_attention(const std::string& layer) {
    const AttentionNames names = names_.self_attention(layer);
    SelfAttention made{.in = projection({names.queries, names.keys, names.values}),
                       .out = projection({names.out}),
                       .wrap = wrap(names.norms)};
    if (!names.query_norm.empty()) {
      made.head_norms = {.queries = norm(names.query_norm), .keys = norm(names.key_norm)};
    }
    return made;
  }

  CrossAttention cross_attention(const std::string& layer) {
    const AttentionNames names = names_.cross_attention(layer);
    return {.queries = projection({names.queries}),
            .keys_values = projection({names.keys, names.values}),
            .out = projection({names.out}),
            .wrap = wrap(names.norms)};
  }

  Ssru ssru(const std::string& layer) {
    return {.gates = projection({layer + ".ssru.input_proj", layer + ".ssru.forget_proj"}),
            .wrap = wrap(names_.ssru_norms(layer))};
  }

  FeedForward feed_forward(const std::string& layer) {
    const FeedForwardNames names = names_.feed_forward(layer);
    std::vector<std::string> in{names.in};
    if (!names.gate.empty()) in.insert(in.begin(), names.gate);
    if (config_.activation == ActivationKind::quick_gelu) fold_quick_gelu(in[0], names.out);
    return {.in = projection(in), .out = projection({names.out}), .wrap = wrap(names.norms)};
  }

  StackEnds ends(Side side, const AttentionShape& attention) {
    const std::string stack = names_.stack(side);
    StackEnds made;
    made.attention = attention;
    if (config_.query_scalar != 0) made.attention.scale = 1 / std::sqrt(config_.query_scalar);
    if (config_.positions == Positions::rotary) {
      made.rotary = {config_.rotary, attention.head_width};
      if (config_.sliding_rotary) {
        made.sliding_rotary = {*config_.sliding_rotary, attention.head_width};
      }
    }
    made.scale = config_.scale_embedding ? std::sqrt(static_cast<float>(config_.width)) : 1.0f;
    made.positions = position_table(stack);
    made.positions_number = number(stack + ".embed_positions.weight");
    made.drops_embedding = has(config_.postprocess_embedding, 'd');
    if (config_.normalizes_embedding()) made.embedding_norm = norm(stack + ".layernorm_embedding");
    made.top = ends_of(config_.postprocess_top);
    if (config_.normalizes_top()) made.top.after = norm(names_.top_norm(side));
    return made;
  }

 private:
  ops::Matrix stack(std::span<const ops::Weight> weights) const {
    if (matrices_ == Weights::Matrices::packed) return ops::Matrix::stack(weights, precision_);
    int64_t rows = 0;
    for (const ops::Weight& each : weights) rows += each.values.dim(0);
    return ops::Matrix::without_values(rows, weights.front().values.dim(1));
  }

  /// With what has been folded into it.
  const Parameter& parameter(const std::string& name) const {
    const auto folded = folded_.find(name);
    if (folded != folded_.end()) return folded->second;
    const Parameter* found = parameters_.find(name);
    HEDDLE_CHECK(found != nullptr, "model: ", name, " is missing");
    return *found;
  }

  void fold_quick_gelu(const std::string& before, const std::string& behind) {
    factors_[before] = {kQuickGelu, kQuickGelu};
    factors_[behind] = {1 / kQuickGelu, 1};
    folded_[before + ".weight"] = scaled(parameter(before + ".weight"), kQuickGelu);
    if (config_.ffn_bias) {
      folded_[before + ".bias"] = scaled(parameter(before + ".bias"), kQuickGelu);
    }
    Parameter out = scaled(parameter(behind + ".weight"), 1 / kQuickGelu);
    out.input_scale *= kQuickGelu;  // what it reads has grown
    folded_[behind + ".weight"] = std::move(out);
  }

  /// Without the input step where the product is not in int8, so that it cannot keep projections
  /// apart.
  ops::Weight weight(const std::string& name) const {
    ops::Weight made = parameter(name);
    if (held_as(made, precision_) != ops::Precision::int8) made.input_scale = 0;
    made.from_relu = config_.activation == ActivationKind::relu && !config_.gated &&
                     name.ends_with(".fc2.weight");
    return made;
  }

  Projection::Part stacked(const std::vector<std::string>& names,
                           std::span<const ops::Weight> weights) {
    Projection::Part part{.matrix = stack(weights), .bias = {}, .sources = {}};
    for (size_t i = 0; i < names.size(); ++i) {
      const auto factor = factors_.find(names[i]);
      const Factors factors = factor != factors_.end() ? factor->second : Factors{1, 1};
      part.sources.push_back({.weight = number(names[i] + ".weight"),
                              .bias = number(names[i] + ".bias"),
                              .rows = weights[i].values.dim(0),
                              .weight_factor = factors.weight,
                              .bias_factor = factors.bias});
    }
    bytes_ += static_cast<int64_t>(part.matrix.bytes());
    const bool any = std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return parameters_.has(name + ".bias");
    });
    if (!any) return part;
    part.bias.assign(static_cast<size_t>(part.matrix.rows()), 0.0f);
    auto to = part.bias.begin();
    for (size_t i = 0; i < names.size(); ++i) {
      const std::string name = names[i] + ".bias";
      if (parameters_.has(name)) std::ranges::copy(vector(name), to);
      to += weights[i].values.dim(0);
    }
    return part;
  }

  PositionTable position_table(const std::string& stack) {
    if (config_.positions == Positions::none || config_.positions == Positions::rotary) return {};
    if (config_.positions != Positions::learned) return {config_.positions, config_.width};
    return {vector(stack + ".embed_positions.weight"), config_.width, config_.position_offset};
  }

  const TransformerConfig& config_;
  const ParameterNames names_;
  const Parameters& parameters_;
  const ops::Precision precision_;
  const Weights::Matrices matrices_;
  struct Factors {
    float weight, bias;
  };
  std::map<std::string, ParameterNumber> numbers_;
  std::map<std::string, Parameter> folded_;
  std::map<std::string, Factors> factors_;  // what was folded into a projection
  int64_t bytes_ = 0;
};

/// A sublayer and the projection that reads its input.
struct Link {
  Wrap* wrap;
  const Projection* first;
};

/// Tells each sublayer with which step its result will be read.
void link(StackEnds& ends, const std::vector<Link>& links, float step_behind) {
  const auto step_of = [](const Link& each) {
    return each.wrap->before ? 0.0f : each.first->input_step();
  };
  ends.first_step = step_of(links.front());
  for (size_t i = 0; i + 1 < links.size(); ++i) links[i].wrap->next_step = step_of(links[i + 1]);
  const bool changed = ends.top.adds || ends.top.after;
  links.back().wrap->next_step = changed ? 0 : step_behind;
  ends.top.next_step = step_behind;
}

void link_encoder(Weights& weights) {
  std::vector<Link> links;
  for (EncoderLayer& layer : weights.encoder) {
    links.push_back({&layer.attention.wrap, &layer.attention.in});
    links.push_back({&layer.feed_forward.wrap, &layer.feed_forward.in});
  }
  link(weights.encoder_ends, links, weights.decoder.front().cross.keys_values.input_step());
}

void link_decoder(Weights& weights) {
  std::vector<Link> links;
  for (DecoderLayer& layer : weights.decoder) {
    if (weights.config.decoder_kind == DecoderKind::ssru) {
      links.push_back({&layer.ssru.wrap, &layer.ssru.gates});
    } else {
      links.push_back({&layer.attention.wrap, &layer.attention.in});
    }
    if (!weights.config.is_language_model()) {
      links.push_back({&layer.cross.wrap, &layer.cross.queries});
    }
    links.push_back({&layer.feed_forward.wrap, &layer.feed_forward.in});
  }
  link(weights.decoder_ends, links, weights.output.input_scale());
}

/// The three tables, those that are tied in one.
void pack_embeddings(Packer& packer, Weights& weights) {
  const ParameterNames names(weights.config);
  const std::string of_source = names.table(Side::encoder), of_target = names.table(Side::decoder);
  const std::string of_output = names.output();
  ops::Matrix &source = weights.encoder_ends.embedding, &target = weights.decoder_ends.embedding;
  source = packer.matrix(of_source);
  target = of_target == of_source ? source : packer.matrix(of_target);
  weights.output = of_output == of_target ? target : packer.matrix(of_output);
  if (weights.config.output_bias) weights.output_bias = packer.vector("final_logits_bias");
  weights.encoder_ends.embedding_number = packer.number(of_source);
  weights.decoder_ends.embedding_number = packer.number(of_target);
  weights.output_number = packer.number(of_output);
  weights.output_bias_number = packer.number("final_logits_bias");
}

void pack_encoder(Packer& packer, Weights& weights) {
  const TransformerConfig& config = weights.config;
  weights.encoder_ends = packer.ends(
      Side::encoder,
      {config.encoder.heads, config.encoder_key_value_heads(), config.encoder_head_width()});
  for (int64_t i = 0; i < config.encoder.layers; ++i) {
    const std::string layer = ParameterNames(config).layer(Side::encoder, i);
    weights.encoder.push_back(
        {.attention = packer.self_attention(layer), .feed_forward = packer.feed_forward(layer)});
  }
}

void pack_decoder(Packer& packer, Weights& weights) {
  const TransformerConfig& config = weights.config;
  weights.decoder_ends = packer.ends(
      Side::decoder,
      {config.decoder.heads, config.decoder_key_value_heads(), config.decoder_head_width()});
  for (int64_t i = 0; i < config.decoder.layers; ++i) {
    const std::string layer = ParameterNames(config).layer(Side::decoder, i);
    DecoderLayer made;
    if (config.decoder_kind == DecoderKind::ssru) {
      made.ssru = packer.ssru(layer);
    } else {
      made.attention = packer.self_attention(layer);
      made.attention.slides = config.slides(i);
    }
    if (!config.is_language_model()) made.cross = packer.cross_attention(layer);
    made.feed_forward = packer.feed_forward(layer);
    weights.decoder.push_back(std::move(made));
  }
}

}  // namespace

Weights::Weights(const ModelFiles& files, ops::Precision precision, Matrices matrices)
    : config(files.config), activation(activation_of(files.config.activation)) {
  check_parameters(config, files.parameters);
  Packer packer(files, precision, matrices);
  if (!config.is_language_model()) pack_encoder(packer, *this);
  pack_decoder(packer, *this);
  pack_embeddings(packer, *this);
  if (!config.is_language_model()) link_encoder(*this);
  link_decoder(*this);
  bytes = packer.bytes();
}

}  // namespace heddle::model
