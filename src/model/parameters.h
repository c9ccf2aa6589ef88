// The weights of a model by canonical name, as every loader makes them and every writer takes them.
//
// Names follow Hugging Face's MarianMT; matrices are [out, in], row-major:
//   model.shared.weight [V, D]                     source, target (and output) in one; else
//   model.encoder.embed_tokens.weight, model.decoder.embed_tokens.weight, lm_head.weight
//   final_logits_bias [V]
//   model.{encoder,decoder}.embed_positions.weight           learned positions
//   model.{encoder,decoder}.layernorm_embedding.{weight,bias}
//   model.{encoder,decoder}.layers.{i}.self_attn.{q,k,v,out}_proj.{weight,bias}
//   model.decoder.layers.{i}.ssru.{input_proj.weight, forget_proj.weight, forget_proj.bias}
//   model.decoder.layers.{i}.encoder_attn.{q,k,v,out}_proj.{weight,bias}
//   model.….layers.{i}.{fc1,fc2,fc_gate}.{weight,bias}
//   model.….layers.{i}.{self_attn,encoder_attn,final}_layer_norm.{weight,bias}
//   model.{encoder,decoder}.layer_norm.{weight,bias}         after the last layer
// A model that norms before and after a sublayer has the norm before under ….._layer_norm_pre.
//
// Those of a language model follow Llama's:
//   model.embed_tokens.weight [V, D], model.norm.weight, lm_head.weight (unless tied); of a reward
//   model score.weight [1, D] in its place
//   model.layers.{i}.self_attn.{q,k,v,o}_proj.{weight,bias}, ….self_attn.{q,k}_norm.weight [E]
//   model.layers.{i}.mlp.{gate,up,down}_proj.{weight,bias}
//   model.layers.{i}.{input,post_attention}_layernorm.weight      before the two sublayers; or
//   model.layers.{i}.{input,post_attention,pre_feedforward,post_feedforward}_layernorm.weight
// Norms multiply by their weights as they are; what Gemma's files hold is one less.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/model/config.h"
#include "heddle/ops/matrix.h"
#include "heddle/tensor/tensor.h"

namespace heddle::model {

/// One weight: values f32, f16, bf16 or i8, [N, K] or [N]; for i8 the scales and, where the model
/// fixes it, the step of the quantised inputs.
using Parameter = ops::Weight;

/// Parameters by name.
class Parameters {
 public:
  using Map = std::map<std::string, Parameter, std::less<>>;

  /// Adds one; throws when the name is taken.
  void add(std::string name, Parameter parameter);

  bool has(std::string_view name) const { return find(name) != nullptr; }
  const Parameter* find(std::string_view name) const;  ///< null when absent
  Parameter* find(std::string_view name);

  /// The parameter with its shape checked; throws with found and expected.
  const Parameter& require(std::string_view name, const Shape& shape) const;

  void remove(std::string_view name);
  size_t size() const { return map_.size(); }
  Map::const_iterator begin() const { return map_.begin(); }
  Map::const_iterator end() const { return map_.end(); }

 private:
  Map map_;
};

/// A model as it lies in files: what loaders return and `Transformer` is made of.
struct ModelFiles {
  TransformerConfig config;
  Parameters parameters;
  std::string source_vocabulary;  ///< path of the SentencePiece model
  std::string target_vocabulary;
  std::string source_pieces;  ///< path of the file that numbers the pieces (vocab.json, a list);
  std::string target_pieces;  ///< empty: the SentencePiece model does
  std::string shortlist;      ///< path, or empty

  /// Of a language model: paths of the tokenizer's files (tokenizer.json, …), and of others that
  /// belong to its directory.
  std::vector<std::string> companions;
};

/// The numbers of a parameter as f32: dequantised, widened.
Tensor to_f32(const Parameter& parameter);

/// A parameter that a model of some config has.
struct ParameterShape {
  std::string name;
  Shape shape;
  DType dtype = DType::f32;  ///< when it is trained
};

/// All parameters of a model of this config, in a fixed order.
std::vector<ParameterShape> parameters_of(const TransformerConfig& config);

/// Whether a parameter is of a smaller type in a quantised model: the matrices, but no table of
/// positions, which is added and not multiplied.
bool is_quantised(std::string_view name, const Shape& shape);

/// Throws unless exactly the parameters that the config asks for are there, in their shapes, with
/// scales that fit.
void check_parameters(const TransformerConfig& config, const Parameters& parameters);

}  // namespace heddle::model
