// Writes models as Marian reads them.
#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/npz.h"
#include "heddle/io/paths.h"
#include "heddle/model/formats/convert.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/formats/marian.h"
#include "heddle/model/formats/marian_names.h"
#include "heddle/model/formats/save.h"

namespace heddle::model {

namespace {

void require(bool condition, std::string_view found) {
  HEDDLE_CHECK(condition, "marian: found ", found, "; expected what Marian has options for");
}

void check_expressible(const TransformerConfig& config) {
  require(config.norm == Norm::layer_norm && config.norm_bias, "RMS norms or norms without bias");
  require(!config.gated, "a gated feed-forward network");
  require(config.attention_bias && config.ffn_bias, "layers without biases");
  const bool learned = config.positions == Positions::learned && config.position_offset == 0;
  require(learned || config.positions == Positions::sinusoidal_marian,
          "positions other than Marian's sinusoids or a learned table");
  require(config.scale_embedding != learned,
          "embeddings that are scaled beside learned positions, or not beside sinusoids");
  require(config.eos == 0 && config.unk == 1, "end and unknown token other than 0 and 1");
  require(config.decoder_start < 0, "a decoder that starts with a token");
  require(config.encoder.heads == config.decoder.heads && config.head_width == 0 &&
              config.encoder_key_value_heads() == config.encoder.heads &&
              config.decoder_key_value_heads() == config.decoder.heads,
          "grouped heads, or other heads in encoder and decoder");
  require(config.activation == ActivationKind::relu || config.activation == ActivationKind::silu ||
              config.activation == ActivationKind::quick_gelu,
          "a gelu other than x sigmoid(1.702 x)");
}

std::string_view activation_name(ActivationKind kind) {
  if (kind == ActivationKind::relu) return "relu";
  return kind == ActivationKind::silu ? "swish" : "gelu";
}

std::string_view truth(bool value) { return value ? "true" : "false"; }

Tensor text_tensor(const std::string& text) {
  Tensor tensor = Tensor::empty({static_cast<int64_t>(text.size()) + 1}, DType::i8);
  std::copy(text.c_str(), text.c_str() + text.size() + 1, static_cast<char*>(tensor.raw()));
  return tensor;
}

/// In Marian's shape: [in, out] of matrices, [1, N] of vectors.
Tensor marian_tensor(const Parameter& parameter, MarianKind kind) {
  const Tensor values = to_f32(parameter);
  if (kind == MarianKind::matrix) return transposed(values);
  return kind == MarianKind::vector ? values.reshape({1, values.elements()}) : values;
}

/// The file that says what a side's ids mean: a numbering of the pieces, which Marian takes without
/// cutting text itself, else the SentencePiece model.
std::string source_name(const ModelFiles& model) {
  if (!model.source_pieces.empty()) return "source.yml";
  return model.source_vocabulary.empty() ? "" : "source.spm";
}

std::string target_name(const ModelFiles& model) {
  if (!model.target_pieces.empty()) {
    return model.target_pieces == model.source_pieces ? "source.yml" : "target.yml";
  }
  return model.target_vocabulary == model.source_vocabulary ? source_name(model) : "target.spm";
}

/// The names under which Marian's decoder finds the rest.
std::string decoder_text(const ModelFiles& model) {
  const std::string source = source_name(model), target = target_name(model);
  const bool both = !source.empty() && !target.empty();
  return str("relative-paths: true\nmodels:\n  - model.npz\n",
             both ? str("vocabs:\n  - ", source, "\n  - ", target, "\n") : std::string(),
             model.shortlist.empty() ? "" : "shortlist:\n  - shortlist.bin\n  - false\n",
             "beam-size: 4\nnormalize: 1\n");
}

}  // namespace

std::string marian_options_text(const TransformerConfig& config) {
  check_expressible(config);
  const bool all = config.ties == Ties::all;
  return str(
      "type: transformer\n", "dim-emb: ", config.width, "\n", "dim-vocabs:\n  - ",
      config.source_vocabulary, "\n  - ", config.target_vocabulary, "\n",
      "enc-depth: ", config.encoder.layers, "\n", "dec-depth: ", config.decoder.layers, "\n",
      "transformer-heads: ", config.encoder.heads, "\n",
      "transformer-dim-ffn: ", config.encoder.ffn_width, "\n",
      "transformer-decoder-dim-ffn: ", config.decoder.ffn_width, "\n", "transformer-ffn-depth: 2\n",
      "transformer-ffn-activation: ", activation_name(config.activation), "\n",
      "transformer-decoder-autoreg: ",
      config.decoder_kind == DecoderKind::ssru ? "rnn" : "self-attention", "\n",
      "dec-cell: ", config.decoder_kind == DecoderKind::ssru ? "ssru" : "gru", "\n",
      "transformer-preprocess: \"", config.preprocess, "\"\n", "transformer-postprocess: \"",
      config.postprocess, "\"\n", "transformer-postprocess-emb: \"", config.postprocess_embedding,
      "\"\n", "transformer-postprocess-top: \"", config.postprocess_top, "\"\n",
      "transformer-train-position-embeddings: ", truth(config.positions == Positions::learned),
      "\n", "transformer-guided-alignment-layer: ",
      config.alignment_layer < 0 ? std::string("last") : str(config.alignment_layer + 1), "\n",
      "transformer-no-projection: false\n", "transformer-tied-layers: []\n",
      "tied-embeddings-all: ", truth(all), "\n",
      "tied-embeddings-src: ", truth(config.ties == Ties::source_target), "\n",
      "tied-embeddings: ", truth(config.ties == Ties::target_output), "\n",
      "output-omit-bias: ", truth(!config.output_bias), "\n", "lemma-dim-emb: 0\n",
      "layer-normalization: false\n", "right-left: false\n", "skip: false\n", "ulr: false\n",
      "input-types: []\n", "version: v1.12.0\n");
}

void save_marian(const ModelFiles& given, const std::string& directory) {
  given.config.check();
  check_parameters(given.config, given.parameters);
  ModelFiles model = given;
  if (const Tensor bias = forbidding_bias(given); bias.defined()) {
    if (model.config.output_bias) model.parameters.remove("final_logits_bias");
    model.parameters.add("final_logits_bias", {bias});
    model.config.output_bias = true;
  }
  std::vector<io::NamedTensor> tensors;
  for (const MarianName& name : marian_names(model.config)) {
    const Parameter* parameter = model.parameters.find(name.canonical);
    HEDDLE_CHECK(parameter != nullptr, "marian: found no ", name.canonical, "; expected one");
    const bool again = !tensors.empty() && tensors.back().name == name.marian;  // Wpos
    if (!again) tensors.push_back({name.marian, marian_tensor(*parameter, name.kind)});
  }
  tensors.push_back(
      {std::string(io::kMarianOptions), text_tensor(marian_options_text(model.config))});
  io::make_folder(directory);
  const auto path = [&](const char* name) { return io::join_path(directory, name); };
  io::write_npz(path("model.npz"), tensors);
  save_vocabularies(model, directory);
  if (!model.source_pieces.empty()) {
    io::write_file(path("source.yml"), numbering_yaml(model.source_pieces));
  }
  if (target_name(model) == "target.yml") {
    io::write_file(path("target.yml"), numbering_yaml(model.target_pieces));
  }
  if (!model.shortlist.empty()) io::copy_file(model.shortlist, path("shortlist.bin"));
  io::write_file(path("decoder.yml"), decoder_text(model));
}

}  // namespace heddle::model
