// Loads CTranslate2 models: TransformerSpec with self-attention decoders.
#include "heddle/io/ctranslate2.h"

#include <cmath>
#include <cstring>
#include <optional>
#include <set>

#include "heddle/base/error.h"
#include "heddle/io/byte_reader.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
#include "heddle/io/value.h"
#include "heddle/model/formats/convert.h"
#include "heddle/model/formats/ctranslate2_names.h"
#include "heddle/model/formats/ctranslate2_tokens.h"
#include "heddle/model/formats/loaders.h"

namespace heddle::model {

namespace {

using io::Ctranslate2Type;
using io::Ctranslate2Variable;

constexpr uint32_t kRevision = 7;
constexpr uint64_t kLongestConfig = uint64_t{1} << 20;
constexpr std::string_view kEncoderTable = "encoder/embeddings_0/weight";
constexpr std::string_view kEncoderTableBefore = "encoder/embeddings/weight";  // older revisions
constexpr std::string_view kDecoderTable = "decoder/embeddings/weight";
constexpr std::string_view kProjection = "decoder/projection/weight";

// CTranslate2's numbers of the activations.
constexpr ActivationKind kActivations[] = {ActivationKind::relu, ActivationKind::gelu_tanh,
                                           ActivationKind::silu, ActivationKind::gelu,
                                           ActivationKind::quick_gelu};

class Loader {
 public:
  explicit Loader(const std::string& directory)
      : directory_(directory),
        file_(io::Source(io::join_path(directory, "model.bin"))),
        config_path_(io::join_path(directory, "config.json")),
        config_(io::parse_json(io::read_text(config_path_, kLongestConfig), config_path_)) {}

  ModelFiles load() {
    check_spec();
    read_config();
    read_tokens();
    for (const Ctranslate2Layer& layer : ctranslate2_layers(model_.config)) read_layer(layer);
    read_tables();
    check_rest();
    find_tokenizers();
    return std::move(model_);
  }

 private:
  std::string place(std::string_view name) const {
    return str("ctranslate2: ", file_.source().name(), ": ", io::quoted(name));
  }

  void check_spec() const {
    const std::string& name = file_.source().name();
    HEDDLE_CHECK(file_.spec() == "TransformerSpec", "ctranslate2: ", name, ": spec: found ",
                 io::quoted(file_.spec()), "; expected 'TransformerSpec', an encoder-decoder");
    HEDDLE_CHECK(file_.revision() >= 1 && file_.revision() <= kRevision, "ctranslate2: ", name,
                 ": revision: found ", file_.revision(), "; expected 1 … ", kRevision);
  }

  const Ctranslate2Variable* find(std::string_view name) {
    const Ctranslate2Variable* variable = file_.find(name);
    if (variable != nullptr) used_.insert(variable->name);
    return variable;
  }

  const Ctranslate2Variable& require(std::string_view name) {
    const Ctranslate2Variable* variable = find(name);
    HEDDLE_CHECK(variable != nullptr, "ctranslate2: ", file_.source().name(),
                 ": found no variable ", io::quoted(name), "; expected one");
    return *variable;
  }

  [[noreturn]] void fail(const Ctranslate2Variable& variable, std::string_view expected) const {
    detail::throw_error(str(place(variable.name), ": found ", variable.type, " ",
                            variable.shape.text(), "; expected ", expected, " (offset ",
                            variable.offset, ")"));
  }

  /// A single number of any type.
  std::optional<double> number(std::string_view name) {
    const Ctranslate2Variable* variable = find(name);
    if (variable == nullptr) return std::nullopt;
    if (variable->shape.rank() != 0) fail(*variable, "one number");
    const Tensor value = file_.read(*variable);
    switch (value.dtype()) {
      case DType::f32:
        return *value.data<float>();
      case DType::i8:
        return *value.data<int8_t>();
      case DType::i32:
        return *value.data<int32_t>();
      case DType::f16:
        return static_cast<float>(*value.data<Float16>());
      default:
        return static_cast<float>(*value.data<BFloat16>());
    }
  }

  int64_t integer(const std::string& name, std::optional<int64_t> otherwise, int64_t low,
                  int64_t high) {
    if (!otherwise) require(name);
    const double value = number(name).value_or(static_cast<double>(otherwise.value_or(0)));
    HEDDLE_CHECK(value >= static_cast<double>(low) && value <= static_cast<double>(high) &&
                     value == std::floor(value),
                 place(name), ": found ", value, "; expected an integer of ", low, " … ", high);
    return static_cast<int64_t>(value);
  }

  bool has(std::string_view name) const { return file_.find(name) != nullptr; }

  int64_t count_layers(const std::string& side) const {
    int64_t count = 0;
    while (has(str(side, "/layer_", count, "/ffn/linear_0/weight"))) ++count;
    return count;
  }

  /// What must be the same in encoder and decoder, because the config has it once.
  int64_t common(const std::string& name, std::optional<int64_t> otherwise, int64_t high) {
    const int64_t encoder = integer(str("encoder/", name), otherwise, 0, high);
    const int64_t decoder = integer(str("decoder/", name), otherwise, 0, high);
    HEDDLE_CHECK(encoder == decoder, place(str("decoder/", name)), ": found ", decoder,
                 "; expected ", encoder, " as in the encoder");
    return encoder;
  }

  bool common_presence(const std::string& name) {
    const bool encoder = has(str("encoder/", name)), decoder = has(str("decoder/", name));
    HEDDLE_CHECK(encoder == decoder, place(str(encoder ? "encoder/" : "decoder/", name)),
                 ": found it on one side; expected it in encoder and decoder or in neither");
    return encoder;
  }

  void read_config() {
    TransformerConfig& config = model_.config;
    config.encoder.layers = count_layers("encoder");
    config.decoder.layers = count_layers("decoder");
    config.encoder.heads = integer("encoder/num_heads", std::nullopt, 1, 32767);
    config.decoder.heads = integer("decoder/num_heads", std::nullopt, 1, 32767);
    read_placement(config);
    config.activation = kActivations[common("activation", 0, 4)];
    config.gated = has("encoder/layer_0/ffn/linear_0_noact/weight");
    config.attention_bias = has("encoder/layer_0/self_attention/linear_0/bias");
    config.ffn_bias = has("encoder/layer_0/ffn/linear_0/bias");
    config.output_bias = has("decoder/projection/bias");
    config.encoder.ffn_width = rows("encoder/layer_0/ffn/linear_0/weight");
    config.decoder.ffn_width = rows("decoder/layer_0/ffn/linear_0/weight");
    for (const char* flag : {"multi_query_attention", "alibi", "alibi_use_positive_positions",
                             "scale_alibi", "scale_outputs"}) {
      integer(str("decoder/", flag), 0, 0, 0);
      integer(str("encoder/", flag), 0, 0, 0);
    }
    integer("encoder/embeddings_merge", 0, 0, 1);  // of one embedding: either
    config.alignment_layer =
        static_cast<int>(integer("decoder/alignment_layer", -1, -1, config.decoder.layers - 1));
    integer("decoder/alignment_heads", 1, 0, 32767);
  }

  void read_placement(TransformerConfig& config) {
    const bool before = common("pre_norm", 1, 1) != 0;
    config.preprocess = std::string(before ? "n" : "");
    config.postprocess = std::string(before ? "da" : "dan");
    const bool embedding = common_presence("layernorm_embedding/gamma");
    config.postprocess_embedding = std::string(embedding ? "dn" : "d");
    config.postprocess_top = std::string(common_presence("layer_norm/gamma") ? "n" : "");
    const std::string norm = "encoder/layer_0/self_attention/layer_norm";
    config.norm_bias = has(norm + "/beta");
    config.norm = config.norm_bias ? Norm::layer_norm : Norm::rms_norm;
    const io::Field fields(config_, str("ctranslate2: ", config_path_));
    config.norm_epsilon = fields.number_or("layer_norm_epsilon", config.norm_bias ? 1e-5 : 1e-6);
  }

  int64_t rows(std::string_view name) {
    const Ctranslate2Variable& variable = require(name);
    if (variable.shape.rank() != 2) fail(variable, "a matrix");
    return variable.shape[0];
  }

  /// The embeddings' factor: a flag, or the factor itself.
  bool read_scale(const std::string& side, int64_t width) {
    const std::string name = side + "/scale_embeddings";
    const Ctranslate2Variable* variable = file_.find(name);
    if (variable == nullptr) return true;
    const double value = *number(name);
    const double root = std::sqrt(static_cast<double>(width));
    const bool is_flag = variable->stored == Ctranslate2Type::i8;
    HEDDLE_CHECK(is_flag || value == 1 || std::abs(value - root) < 1e-3 * root, place(name),
                 ": found ", value, "; expected a flag, 1 or ", root);
    return is_flag ? value != 0 : value != 1;
  }

  void read_tables() {
    TransformerConfig& config = model_.config;
    const std::string_view source_name = has(kEncoderTable) ? kEncoderTable : kEncoderTableBefore;
    const Ctranslate2Variable& source = require(source_name);
    const Ctranslate2Variable& target = require(kDecoderTable);
    const Ctranslate2Variable& output = require(kProjection);
    config.source_vocabulary = rows(source_name);
    config.target_vocabulary = rows(kDecoderTable);
    config.width = target.shape[1];
    const bool sources = &source == &target, outputs = &target == &output;
    config.ties = sources ? (outputs ? Ties::all : Ties::source_target)
                          : (outputs ? Ties::target_output : Ties::none);
    if (sources) {
      add("model.shared.weight", matrix(source));
    } else {
      add("model.encoder.embed_tokens.weight", matrix(source));
      add("model.decoder.embed_tokens.weight", matrix(target));
    }
    if (!outputs) add("lm_head.weight", matrix(output));
    if (config.output_bias) add("final_logits_bias", vector("decoder/projection/bias"));
    const bool scaled = read_scale("encoder", config.width);
    HEDDLE_CHECK(scaled == read_scale("decoder", config.width), place("decoder/scale_embeddings"),
                 ": found another than the encoder's; expected the same");
    for (const char* name : {"encoder/embeddings_0/multiply_by_sqrt_depth",
                             "decoder/embeddings/multiply_by_sqrt_depth"}) {
      find(name);  // what scale_embeddings replaced
    }
    config.scale_embedding = scaled;
    read_positions();
    check_piece_count(source_, config.source_vocabulary);
    check_piece_count(target_, config.target_vocabulary);
  }

  /// A stored table stays what it is, to the bit; without one CTranslate2 computes Tensor2Tensor's,
  /// whose first position is 1.
  void read_positions() {
    TransformerConfig& config = model_.config;
    const bool stored = common_presence("position_encodings/encodings");
    const int64_t longest = stored ? rows("encoder/position_encodings/encodings") : 2048;
    for (const std::string side : {"encoder", "decoder"}) {
      Parameter table;
      if (stored) {
        table = matrix(require(side + "/position_encodings/encodings"));
      } else {
        table.values = sinusoids(Positions::sinusoidal_marian, longest, config.width, 1);
      }
      HEDDLE_CHECK(table.values.dim(0) == longest, place(side + "/position_encodings/encodings"),
                   ": found ", table.values.dim(0), " positions; expected ", longest,
                   " as in the encoder");
      add(str("model.", side, ".embed_positions.weight"), table);
    }
    config.positions = Positions::learned;
    config.max_positions = longest;
  }

  void add(std::string name, Parameter parameter) {
    model_.parameters.add(std::move(name), std::move(parameter));
  }

  void read_layer(const Ctranslate2Layer& layer) {
    if (layer.is_norm) {
      add(layer.canonical[0] + ".weight", vector(layer.name + "/gamma"));
      const bool bias = has(layer.name + "/beta");
      if (bias) add(layer.canonical[0] + ".bias", vector(layer.name + "/beta"));
      integer(layer.name + "/layer_norm_use_residual", 0, 0, 0);
      return;
    }
    const Ctranslate2Variable& weight = require(layer.name + "/weight");
    split(weight, matrix(weight), layer.canonical, ".weight");
    const std::string bias = layer.name + "/bias";
    if (has(bias)) split(require(bias), vector(bias), layer.canonical, ".bias");
  }

  /// Equal parts below one another, as views of the one tensor.
  void split(const Ctranslate2Variable& variable, const Parameter& whole,
             const std::vector<std::string>& names, const char* suffix) {
    const auto parts = static_cast<int64_t>(names.size());
    const int64_t rows = whole.values.dim(0) / parts;
    if (whole.values.dim(0) % parts != 0) fail(variable, str("a multiple of ", parts, " rows"));
    for (int64_t i = 0; i < parts; ++i) {
      Parameter part{whole.values.slice(0, i * rows, (i + 1) * rows)};
      if (whole.scales.defined()) {
        part.scales = whole.scales.slice(0, i * rows, (i + 1) * rows);
      }
      add(names[static_cast<size_t>(i)] + suffix, part);
    }
  }

  Parameter vector(const std::string& name) {
    const Ctranslate2Variable& variable = require(name);
    const bool floats = variable.stored != Ctranslate2Type::i8 &&
                        variable.stored != Ctranslate2Type::i16 &&
                        variable.stored != Ctranslate2Type::i32;
    if (variable.shape.rank() != 1 || !floats) fail(variable, "a float vector");
    return {file_.read(variable)};
  }

  Parameter matrix(const Ctranslate2Variable& variable) {
    if (variable.shape.rank() != 2 || variable.stored == Ctranslate2Type::i32) {
      fail(variable, "a matrix of float32, float16, bfloat16, int16 or int8");
    }
    Parameter parameter{file_.read(variable)};
    if (variable.stored == Ctranslate2Type::i8) {
      parameter.scales = scales(variable);
    } else if (variable.stored == Ctranslate2Type::i16) {
      const Tensor scale = scales(variable);
      for (int64_t i = 0; i < parameter.values.elements(); ++i) {
        parameter.values.data<float>()[i] *= *scale.data<float>();
      }
    }
    return parameter;
  }

  /// Our scales multiply, theirs divide: [N] of int8, one number of int16.
  Tensor scales(const Ctranslate2Variable& variable) {
    const Ctranslate2Variable& scale = require(variable.name + "_scale");
    const bool per_row = variable.stored == Ctranslate2Type::i8;
    const Shape expected = per_row ? Shape{variable.shape[0]} : Shape{};
    if (scale.stored != Ctranslate2Type::f32 || scale.shape != expected) {
      fail(scale, str("float32 ", expected.text()));
    }
    const Tensor values = file_.read(scale);
    Tensor result = Tensor::empty(per_row ? expected : Shape{1}, DType::f32);
    for (int64_t i = 0; i < values.elements(); ++i) {
      const float value = values.data<float>()[i];
      HEDDLE_CHECK(std::isfinite(value) && value > 0, place(scale.name), ": found ", value,
                   "; expected a finite number above 0 (offset ", scale.offset + 4 * i, ")");
      result.data<float>()[i] = 1.0f / value;
    }
    return result;
  }

  /// Whatever is left would change what the model computes.
  void check_rest() const {
    for (const Ctranslate2Variable& variable : file_.variables()) {
      HEDDLE_CHECK(used_.contains(variable.name), place(variable.name),
                   ": found this variable; expected none that this engine has no part for");
    }
  }

  void read_tokens() {
    source_ = read_piece_list(directory_, "source");
    target_ = read_piece_list(directory_, "target");
    const io::Field config(config_, str("ctranslate2: ", config_path_));
    const auto type = config.find("quantization_type");
    if (type && type->value() != io::Value(0)) type->fail("none: AWQ weights are not read");
    const bool from_zero = integer("decoder/start_from_zero_embedding", 0, 0, 1) != 0;
    read_special_tokens(config, target_, from_zero, model_.config);
  }

  /// SentencePiece models that somebody put beside the weights; CTranslate2 itself has none.
  void find_tokenizers() {
    const auto path = [&](std::initializer_list<const char*> names) {
      for (const char* name : names) {
        const std::string full = io::join_path(directory_, name);
        if (io::exists(full)) return full;
      }
      return std::string();
    };
    model_.source_vocabulary = path({"source.spm", "sentencepiece.model", "spm.model"});
    model_.target_vocabulary = path({"target.spm"});
    if (model_.target_vocabulary.empty()) model_.target_vocabulary = model_.source_vocabulary;
    model_.source_pieces = source_.path;
    model_.target_pieces = target_.path;
  }

  std::string directory_;
  io::Ctranslate2File file_;
  std::string config_path_;
  io::Value config_;
  std::set<std::string_view> used_;
  PieceList source_;
  PieceList target_;
  ModelFiles model_;
};

}  // namespace

bool is_ctranslate2(const io::Source& source) { return io::Ctranslate2File::recognises(source); }

ModelFiles load_ctranslate2(const std::string& directory) { return Loader(directory).load(); }

}  // namespace heddle::model
