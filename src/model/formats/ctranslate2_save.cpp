// Writes models as CTranslate2 reads them.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/ctranslate2.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/model/formats/convert.h"
#include "heddle/model/formats/ctranslate2_names.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/formats/save.h"

namespace heddle::model {

namespace {

constexpr uint32_t kRevision = 7;
constexpr int64_t kPositions = 2048;  // of a table that is computed

[[noreturn]] void refuse(std::string_view what) {
  detail::throw_error(str("ctranslate2: found ", what, "; expected what TransformerSpec has"));
}

void check_expressible(const TransformerConfig& config) {
  if (config.is_language_model()) refuse("a language model");
  if (config.decoder_kind != DecoderKind::self_attention) refuse("an SSRU decoder");
  if (config.positions == Positions::rotary || config.positions == Positions::none) {
    refuse("rotary positions or none");
  }
  if (config.position_offset != 0) refuse("a position offset");
  const bool usual = config.encoder_key_value_heads() == config.encoder.heads &&
                     config.decoder_key_value_heads() == config.decoder.heads &&
                     config.encoder_head_width() * config.encoder.heads == config.width &&
                     config.decoder_head_width() * config.decoder.heads == config.width;
  if (!usual) refuse("grouped heads or heads of their own width");
  const bool before = config.normalizes_before(), after = config.normalizes_after();
  if (before == after || config.preprocess.find('a') != std::string::npos) {
    refuse("norms both before and after a layer, or neither");
  }
  if (config.postprocess.find('a') == std::string::npos) refuse("layers without residuals");
  if (config.postprocess_top.find('a') != std::string::npos) refuse("a residual over all layers");
}

int8_t activation_number(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::relu:
      return 0;
    case ActivationKind::gelu_tanh:
      return 1;
    case ActivationKind::silu:
      return 2;
    case ActivationKind::gelu:
      return 3;
    case ActivationKind::quick_gelu:
      return 4;
  }
  return 0;
}

class Saver {
 public:
  explicit Saver(const ModelFiles& model) : model_(model), config_(model.config) {}

  void collect() {
    for (const Ctranslate2Layer& layer : ctranslate2_layers(config_)) add_layer(layer);
    add_tables();
    for (const std::string side : {"encoder/", "decoder/"}) {
      add_flag(side + "activation", activation_number(config_.activation));
      add_flag(side + "pre_norm", config_.normalizes_before() ? 1 : 0);
      add_flag(side + "scale_embeddings", config_.scale_embedding ? 1 : 0);
    }
    add_flag("encoder/embeddings_merge", 0);
    add_flag("encoder/multi_query_attention", 0);
    for (const char* flag : {"alibi", "alibi_use_positive_positions", "scale_alibi"}) {
      add_flag(str("decoder/", flag), 0);
    }
    add_flag("decoder/start_from_zero_embedding", config_.decoder_start < 0 ? 1 : 0);
    variables_["encoder/num_heads"].number = static_cast<int16_t>(config_.encoder.heads);
    variables_["decoder/num_heads"].number = static_cast<int16_t>(config_.decoder.heads);
    variables_["decoder/alignment_layer"].number = static_cast<int16_t>(config_.alignment_layer);
    variables_["decoder/alignment_heads"].number = 1;
  }

  void write(const std::string& path) const {
    io::write_ctranslate2(path, "TransformerSpec", kRevision, variables_, aliases_);
  }

 private:
  const Parameter& parameter(const std::string& name) const {
    const Parameter* found = model_.parameters.find(name);
    HEDDLE_CHECK(found != nullptr, "ctranslate2: found no ", name, "; expected one");
    return *found;
  }

  void add_flag(const std::string& name, int8_t value) {
    Tensor flag = Tensor::empty({}, DType::i8);
    *flag.data<int8_t>() = value;
    variables_[name].tensor = flag;
  }

  void add_layer(const Ctranslate2Layer& layer) {
    const auto suffixes =
        layer.is_norm ? std::pair("/gamma", "/beta") : std::pair("/weight", "/bias");
    add_parts(layer.name + suffixes.first, layer.canonical, ".weight");
    if (model_.parameters.has(layer.canonical[0] + ".bias")) {
      add_parts(layer.name + suffixes.second, layer.canonical, ".bias");
    }
  }

  void add_parts(const std::string& name, const std::vector<std::string>& parts,
                 const char* suffix) {
    std::vector<Tensor> values, scales;
    for (const std::string& part : parts) {
      const Parameter& piece = parameter(part + suffix);
      HEDDLE_CHECK(values.empty() || values[0].dtype() == piece.values.dtype(),
                   "ctranslate2: ", part, suffix, ": found ", name_of(piece.values.dtype()),
                   "; expected ", name_of(values[0].dtype()), " as ", parts[0], " has");
      values.push_back(piece.values);
      if (piece.values.dtype() == DType::i8) scales.push_back(their_scales(piece));
    }
    variables_[name].tensor = joined(values);
    if (!scales.empty()) variables_[name + "_scale"].tensor = joined(scales);
  }

  /// Theirs divide, one a row.
  static Tensor their_scales(const Parameter& parameter) {
    const int64_t rows = parameter.values.dim(0);
    const bool each = parameter.scales.elements() == rows;
    Tensor result = Tensor::empty({rows}, DType::f32);
    for (int64_t row = 0; row < rows; ++row) {
      result.data<float>()[row] = 1.0f / parameter.scales.data<float>()[each ? row : 0];
    }
    return result;
  }

  /// Tensors of one type below one another.
  static Tensor joined(const std::vector<Tensor>& parts) {
    if (parts.size() == 1) return parts[0];
    Shape shape = parts[0].shape();
    shape[0] = 0;
    for (const Tensor& part : parts) shape[0] += part.dim(0);
    Tensor whole = Tensor::empty(shape, parts[0].dtype());
    auto* to = static_cast<std::byte*>(whole.raw());
    for (const Tensor& part : parts) {
      const size_t bytes = static_cast<size_t>(part.elements()) * size_of(part.dtype());
      std::memcpy(to, part.raw(), bytes);
      to += bytes;
    }
    return whole;
  }

  void add_table(const std::string& name, const std::string& canonical) {
    add_parts(name, {canonical}, "");
  }

  void add_tables() {
    const std::string encoder = "encoder/embeddings_0/weight";
    const std::string decoder = "decoder/embeddings/weight";
    const std::string projection = "decoder/projection/weight";
    const bool sources = config_.ties == Ties::all || config_.ties == Ties::source_target;
    const bool outputs = config_.ties == Ties::all || config_.ties == Ties::target_output;
    add_table(decoder, sources ? "model.shared.weight" : "model.decoder.embed_tokens.weight");
    if (sources) {
      aliases_[encoder] = decoder;
    } else {
      add_table(encoder, "model.encoder.embed_tokens.weight");
    }
    if (outputs) {
      aliases_[projection] = decoder;
    } else {
      add_table(projection, "lm_head.weight");
    }
    add_output_bias();
    add_positions();
  }

  /// What config.json cannot forbid, the bias does.
  void add_output_bias() {
    const std::string name = "decoder/projection/bias";
    const Tensor bias = forbidding_bias(model_);
    if (bias.defined()) {
      variables_[name].tensor = bias;
    } else if (config_.output_bias) {
      add_parts(name, {"final_logits_bias"}, "");
    }
  }

  void add_positions() {
    const std::string encoder = "encoder/position_encodings/encodings";
    const std::string decoder = "decoder/position_encodings/encodings";
    if (config_.positions == Positions::learned) {
      add_table(encoder, "model.encoder.embed_positions.weight");
      add_table(decoder, "model.decoder.embed_positions.weight");
      if (same(variables_[encoder].tensor, variables_[decoder].tensor)) {
        variables_.erase(encoder);
        aliases_[encoder] = decoder;
      }
      return;
    }
    const int64_t positions = config_.max_positions > 0 ? config_.max_positions : kPositions;
    variables_[decoder].tensor = sinusoids(config_.positions, positions, config_.width);
    aliases_[encoder] = decoder;
  }

  static bool same(const Tensor& a, const Tensor& b) {
    return a.shape() == b.shape() && a.dtype() == b.dtype() &&
           std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.elements()) * size_of(a.dtype())) ==
               0;
  }

  const ModelFiles& model_;
  const TransformerConfig& config_;
  std::map<std::string, io::Ctranslate2Output> variables_;
  std::map<std::string, std::string> aliases_;
};

void write_list(const std::string& path, const std::vector<std::string>& pieces) {
  io::Value::List list(pieces.begin(), pieces.end());
  io::write_file(path, io::to_json(io::Value(std::move(list))) + "\n");
}

void check_count(const std::vector<std::string>& pieces, int64_t rows, std::string_view side) {
  HEDDLE_CHECK(static_cast<int64_t>(pieces.size()) == rows, "ctranslate2: found ", pieces.size(),
               " pieces of the ", side, "; expected ", rows, " as the embeddings have rows");
}

io::Value config_of(const TransformerConfig& config, const Pieces& pieces) {
  const auto piece = [&](int32_t id) { return pieces.target[static_cast<size_t>(id)]; };
  const int32_t start = config.decoder_start >= 0 ? config.decoder_start : config.eos;
  io::Value json;
  json.set("add_source_bos", false);
  json.set("add_source_eos", config.ends_source);
  json.set("bos_token", piece(config.ends_source ? config.eos : start));
  json.set("decoder_start_token", piece(start));
  json.set("eos_token", piece(config.eos));
  json.set("layer_norm_epsilon", config.norm_epsilon);
  json.set("multi_query_attention", false);
  if (config.unk >= 0) json.set("unk_token", piece(config.unk));
  return json;
}

}  // namespace

void save_ctranslate2(const ModelFiles& model, const std::string& directory, const Pieces& pieces) {
  model.config.check();
  check_parameters(model.config, model.parameters);
  check_expressible(model.config);
  check_count(pieces.source, model.config.source_vocabulary, "source");
  check_count(pieces.target, model.config.target_vocabulary, "target");
  Saver saver(model);
  saver.collect();
  io::make_folder(directory);
  const auto path = [&](const char* name) { return io::join_path(directory, name); };
  saver.write(path("model.bin"));
  if (pieces.source == pieces.target) {
    write_list(path("shared_vocabulary.json"), pieces.target);
  } else {
    write_list(path("source_vocabulary.json"), pieces.source);
    write_list(path("target_vocabulary.json"), pieces.target);
  }
  save_vocabularies(model, directory);
  io::write_file(path("config.json"), io::to_json(config_of(model.config, pieces), 2) + "\n");
}

}  // namespace heddle::model
