#include "cli/model_words.h"

#include <map>
#include <string_view>

#include "cli/format.h"

namespace heddle::cli {

namespace {

using model::TransformerConfig;

std::string_view activation_word(model::ActivationKind kind) {
  switch (kind) {
    case model::ActivationKind::relu:
      return "relu";
    case model::ActivationKind::gelu:
      return "gelu";
    case model::ActivationKind::gelu_tanh:
      return "gelu (tanh)";
    case model::ActivationKind::quick_gelu:
      return "gelu (sigmoid)";
    case model::ActivationKind::silu:
      return "silu";
  }
  return "";
}

std::string_view positions_words(model::Positions positions) {
  switch (positions) {
    case model::Positions::none:
      return "no positions";
    case model::Positions::sinusoidal:
      return "sinusoidal positions";
    case model::Positions::sinusoidal_marian:
      return "sinusoidal positions (Marian's)";
    case model::Positions::sinusoidal_interleaved:
      return "sinusoidal positions (interleaved)";
    case model::Positions::learned:
      return "learned positions";
    case model::Positions::rotary:
      return "rotary positions";
  }
  return "";
}

std::string_view ties_words(model::Ties ties) {
  switch (ties) {
    case model::Ties::all:
      return "one embedding for source, target and output";
    case model::Ties::source_target:
      return "one embedding for source and target, output apart";
    case model::Ties::target_output:
      return "one embedding for target and output, source apart";
    case model::Ties::none:
      return "embeddings and output apart";
  }
  return "";
}

std::string norm_words(const TransformerConfig& config) {
  const std::string kind = config.norm == model::Norm::rms_norm ? "RMS norm" : "layer norm";
  const bool before = config.normalizes_before(), after = config.normalizes_after();
  return kind + (before && after ? " before and after each layer"
                 : before        ? " before each layer"
                 : after         ? " after each layer"
                                 : " nowhere in the layers");
}

std::string vocabulary_words(const TransformerConfig& config) {
  const std::string source = with_separators(config.source_vocabulary);
  if (config.source_vocabulary == config.target_vocabulary) return str("vocabulary ", source);
  return str("vocabularies ", source, " and ", with_separators(config.target_vocabulary));
}

}  // namespace

std::string architecture_words(const TransformerConfig& config) {
  const bool ssru = config.decoder_kind == model::DecoderKind::ssru;
  if (config.is_language_model()) {
    return str(
        "Language model: ", config.decoder.layers, " layers, d ", config.width, ", ",
        config.decoder.heads, " heads, ", config.decoder_key_value_heads(),
        " of keys and values, gated ", activation_word(config.activation), " of ",
        config.decoder.ffn_width, "\n", norm_words(config), ", ", positions_words(config.positions),
        config.window != 0 ? str(", window ", config.window) : "", ", ", vocabulary_words(config));
  }
  return str("Transformer: ", config.encoder.layers, " encoder layers, ", config.decoder.layers,
             ssru ? " SSRU" : "", " decoder layers, d ", config.width, ", ", config.encoder.heads,
             " heads, ", config.gated ? "gated " : "", activation_word(config.activation), " of ",
             config.encoder.ffn_width, "\n", norm_words(config), ", ",
             positions_words(config.positions), ", ", vocabulary_words(config), ", ",
             ties_words(config.ties));
}

std::string model_size_words(const model::ModelFiles& model) {
  std::map<DType, double> bytes;
  int64_t parameters = 0;
  double total = 0;
  const auto count = [&](const Tensor& tensor) {
    if (!tensor.defined()) return;
    const double size =
        static_cast<double>(tensor.elements()) * static_cast<double>(size_of(tensor.dtype()));
    bytes[tensor.dtype()] += size;
    total += size;
  };
  for (const auto& [name, parameter] : model.parameters) {
    parameters += parameter.values.elements();
    count(parameter.values);
    count(parameter.scales);
  }
  std::string kinds;
  for (const auto& [dtype, size] : bytes) {
    kinds += str(kinds.empty() ? "" : ", ", name_of(dtype), " ", bytes_text(size));
  }
  return str(with_separators(parameters), " parameters, ", bytes_text(total), " (", kinds, ")");
}

}  // namespace heddle::cli
