#include "heddle/model/config_language.h"

#include <algorithm>
#include <array>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/config_rotary.h"

namespace heddle::model {

namespace {

constexpr int64_t kMostOfAny = int64_t{1} << 30;
constexpr int64_t kMostLayers = 1024;

/// What a model_type says by itself, and what its class takes for fields that are not there.
struct Family {
  std::string_view type, architecture;  ///< "…ForCausalLM" without that end
  std::string_view scoring{};  ///< the same of …ForSequenceClassification; empty: as it is
  bool query_biases = false;   ///< q, k and v have one, out has none
  bool head_norms = false;
  bool norms_after = false;  ///< sublayers are normed on both sides
  bool scales_embedding = false;
  bool ties = false;
  int64_t head_width = 0;
  double base = 10000;
  std::string_view activation_field = "hidden_act", activation = "silu";
};

constexpr std::array<Family, 5> kFamilies{
    {{.type = "llama", .architecture = "Llama"},
     {.type = "mistral", .architecture = "Mistral"},
     {.type = "qwen2", .architecture = "Qwen2", .query_biases = true},
     {.type = "qwen3", .architecture = "Qwen3", .head_norms = true, .head_width = 128},
     {.type = "gemma3_text",
      .architecture = "Gemma3",
      .scoring = "Gemma3Text",
      .head_norms = true,
      .norms_after = true,
      .scales_embedding = true,
      .ties = true,
      .head_width = 256,
      .base = 1e6,
      .activation_field = "hidden_activation",
      .activation = "gelu_pytorch_tanh"}}};

constexpr std::string_view kWrites = "ForCausalLM", kScores = "ForSequenceClassification";

constexpr double kLocalBase = 10000;
constexpr int64_t kDefaultWindow = 4096;

constexpr std::array<std::pair<std::string_view, ActivationKind>, 6> kLanguageActivations{
    {{"silu", ActivationKind::silu},
     {"swish", ActivationKind::silu},
     {"gelu_pytorch_tanh", ActivationKind::gelu_tanh},
     {"gelu_new", ActivationKind::gelu_tanh},
     {"gelu", ActivationKind::gelu},
     {"relu", ActivationKind::relu}}};

const Family* find_family(std::string_view type) {
  const auto* found = std::ranges::find(kFamilies, type, &Family::type);
  return found == kFamilies.end() ? nullptr : found;
}

/// Fields that change what is computed and that no layer here knows.
void refuse_unknown(const io::Field& json) {
  for (const char* key : {"attn_logit_softcapping", "final_logit_softcapping", "num_local_experts",
                          "num_experts", "quantization_config"}) {
    if (const auto found = json.find(key)) found->fail("none, since it is not supported");
  }
  if (json.boolean_or("use_bidirectional_attention", false)) {
    json["use_bidirectional_attention"].fail("false: a decoder");
  }
  if (json.number_or("partial_rotary_factor", 1) != 1) {
    json["partial_rotary_factor"].fail("1: heads are turned as a whole");
  }
}

ActivationKind read_activation(const io::Field& json, const Family& family) {
  const std::string found = json.text_or(family.activation_field, family.activation);
  for (const auto& [word, kind] : kLanguageActivations) {
    if (word == found) return kind;
  }
  json[family.activation_field].fail("one of silu, gelu_pytorch_tanh, gelu, relu");
}

void read_rotary(const io::Field& json, const Family& family, TransformerConfig& config) {
  const auto parameters = json.find("rope_parameters");
  const bool nested = parameters && parameters->find("full_attention");
  const double base = json.number_or("rope_theta", family.base);
  const auto of_all = nested       ? parameters->find("full_attention")
                      : parameters ? parameters
                                   : json.find("rope_scaling");
  config.rotary = of_all ? read_rotary_scaling(*of_all, base, config.max_positions)
                         : RotaryConfig{.base = base};
  raise_positions(config);
  if (!family.norms_after || config.window == 0) return;
  RotaryConfig sliding{.base = json.number_or("rope_local_base_freq", kLocalBase)};
  if (const auto local = nested ? parameters->find("sliding_attention") : std::nullopt) {
    sliding = read_rotary_scaling(*local, sliding.base, config.max_positions);
  }
  if (sliding != config.rotary) config.sliding_rotary = sliding;
}

/// Which layers slide: as layer_types says, or by the rule of the family.
std::vector<bool> read_sliding(const io::Field& json, const Family& family, int64_t layers) {
  std::vector<bool> sliding;
  if (const auto types = json.find("layer_types"); types && family.type != "mistral") {
    for (const io::Field& type : types->items()) {
      const bool slides = type.text() == "sliding_attention";
      if (!slides && type.text() != "full_attention") {
        type.fail("sliding_attention or full_attention");
      }
      sliding.push_back(slides);
    }
    return sliding;
  }
  const int64_t full = json.integer_or("max_window_layers", 28, 0, kMostOfAny);
  const int64_t pattern = json.integer_or("sliding_window_pattern", 6, 1, kMostOfAny);
  for (int64_t i = 0; i < layers; ++i) {
    sliding.push_back(family.type == "mistral" || (family.norms_after && (i + 1) % pattern != 0) ||
                      (!family.norms_after && i >= full));
  }
  return sliding;
}

void read_window(const io::Field& json, const Family& family, TransformerConfig& config) {
  if (family.type == "llama") return;
  const bool qwen = family.type.starts_with("qwen");
  if (qwen && !json.boolean_or("use_sliding_window", false)) return;
  const io::Value* const given = json.value().find("sliding_window");
  if (given != nullptr && given->is_null()) return;
  config.window = json.integer_or("sliding_window", kDefaultWindow, 1, kMostOfAny);
  config.sliding_layers = read_sliding(json, family, config.decoder.layers);
  if (std::ranges::find(config.sliding_layers, true) != config.sliding_layers.end()) return;
  config.window = 0;
  config.sliding_layers.clear();
}

int32_t read_language_token(const io::Field& json, std::string_view key) {
  return static_cast<int32_t>(json.integer_or(key, -1, -1, kMostOfAny));
}

void read_tokens(const io::Field& json, TransformerConfig& config) {
  config.decoder_start = read_language_token(json, "bos_token_id");
  config.pad = read_language_token(json, "pad_token_id");
  config.unk = -1;
  config.eos = -1;
  config.ends_source = false;
  const auto eos = json.find("eos_token_id");
  if (eos && eos->value().list() != nullptr) {
    for (const io::Field& each : eos->items()) {
      const auto token = static_cast<int32_t>(each.integer(0, kMostOfAny));
      if (config.eos < 0) {
        config.eos = token;
      } else {
        config.other_eos.push_back(token);
      }
    }
  } else {
    config.eos = read_language_token(json, "eos_token_id");
  }
}

/// Whether it is a reward model.
bool read_scores(const io::Field& json) {
  const auto architectures = json.find("architectures");
  if (!architectures || architectures->value().is_null()) return false;
  const auto names = architectures->items();
  if (names.empty() || !names.front().text().ends_with(kScores)) return false;
  const auto labels = json.find("id2label");
  const int64_t count =
      labels ? std::ssize(labels->members()) : json.integer_or("num_labels", 2, 0, kMostOfAny);
  HEDDLE_CHECK(count == 1, "config: found ", count, " labels in a ", names.front().text(),
               "; expected 1, that of a reward model");
  return true;
}

TransformerConfig parse(const io::Field& json, const Family& family) {
  refuse_unknown(json);
  TransformerConfig config;
  config.scores = read_scores(json);
  config.width = json["hidden_size"].integer(1, kMostOfAny);
  config.source_vocabulary = json["vocab_size"].integer(1, kMostOfAny);
  config.target_vocabulary = config.source_vocabulary;
  config.encoder.layers = 0;
  StackConfig& stack = config.decoder;
  stack.layers = json["num_hidden_layers"].integer(1, kMostLayers);
  stack.heads = json["num_attention_heads"].integer(1, kMostOfAny);
  stack.key_value_heads = json.integer_or("num_key_value_heads", stack.heads, 1, kMostOfAny);
  stack.ffn_width = json["intermediate_size"].integer(1, kMostOfAny);
  if (stack.key_value_heads == stack.heads) stack.key_value_heads = 0;
  config.head_width = json.integer_or("head_dim", family.head_width, 0, kMostOfAny);
  if (config.head_width <= config.width && config.head_width * stack.heads == config.width) {
    config.head_width = 0;
  }

  config.preprocess = "n";
  config.postprocess = family.norms_after ? "dna" : "da";
  config.postprocess_top = "n";
  config.norm = Norm::rms_norm;
  config.norm_epsilon = json.number_or("rms_norm_eps", 1e-6);
  config.norm_bias = false;
  config.activation = read_activation(json, family);
  config.gated = true;
  config.attention_bias =
      family.query_biases || (family.type != "mistral" && json.boolean_or("attention_bias", false));
  config.out_bias = !family.query_biases;
  config.ffn_bias = family.type == "llama" && json.boolean_or("mlp_bias", false);
  config.output_bias = false;
  config.head_norms = family.head_norms;
  config.ties =
      json.boolean_or("tie_word_embeddings", family.ties) ? Ties::target_output : Ties::none;
  config.scale_embedding = family.scales_embedding;

  config.positions = Positions::rotary;
  config.max_positions = json.integer_or("max_position_embeddings", 0, 0, kMostOfAny);
  read_window(json, family, config);
  read_rotary(json, family, config);
  if (family.norms_after) {
    const double scalar = json.number_or("query_pre_attn_scalar", 256);
    const auto own = static_cast<double>(config.decoder_head_width());
    config.query_scalar = scalar == own ? 0 : scalar;
  }
  read_tokens(json, config);
  return config;
}

void write_window(io::Value& json, const TransformerConfig& config, const Family& family) {
  if (family.type == "llama") return;
  json.set("sliding_window", config.window == 0 ? io::Value() : io::Value(config.window));
  if (family.type == "mistral") return;
  if (family.type.starts_with("qwen")) json.set("use_sliding_window", config.window != 0);
  io::Value::List types;
  for (int64_t i = 0; i < config.decoder.layers; ++i) {
    types.emplace_back(config.slides(i) ? "sliding_attention" : "full_attention");
  }
  json.set("layer_types", std::move(types));
}

void write_tokens(io::Value& json, const TransformerConfig& config) {
  const auto token = [](int32_t id) { return id < 0 ? io::Value() : io::Value(int64_t{id}); };
  json.set("bos_token_id", token(config.decoder_start));
  json.set("pad_token_id", token(config.pad));
  if (config.other_eos.empty()) {
    json.set("eos_token_id", token(config.eos));
    return;
  }
  io::Value::List all{token(config.eos)};
  for (const int32_t each : config.other_eos) all.push_back(token(each));
  json.set("eos_token_id", std::move(all));
}

void write_architecture(io::Value& json, const TransformerConfig& config, const Family& family) {
  const bool other = config.scores && !family.scoring.empty();
  const std::string name =
      str(other ? family.scoring : family.architecture, config.scores ? kScores : kWrites);
  json.set("model_type", std::string(family.type));
  json.set("architectures", io::Value::List{io::Value(name)});
  if (!config.scores) return;
  io::Value labels, numbers;
  labels.set("0", "LABEL_0");
  numbers.set("LABEL_0", int64_t{0});
  json.set("id2label", labels);
  json.set("label2id", numbers);
  json.set("num_labels", int64_t{1});
}

io::Value write(const TransformerConfig& config, const Family& family) {
  io::Value json;
  write_architecture(json, config, family);
  json.set("hidden_size", config.width);
  json.set("vocab_size", config.target_vocabulary);
  json.set("num_hidden_layers", config.decoder.layers);
  json.set("num_attention_heads", config.decoder.heads);
  json.set("num_key_value_heads", config.decoder_key_value_heads());
  json.set("head_dim", config.decoder_head_width());
  json.set("intermediate_size", config.decoder.ffn_width);
  json.set("rms_norm_eps", config.norm_epsilon);
  for (const auto& [word, kind] : kLanguageActivations) {
    if (kind != config.activation) continue;
    json.set(family.activation_field, std::string(word));
    break;
  }
  json.set("attention_bias", config.attention_bias);
  json.set("mlp_bias", config.ffn_bias);
  json.set("tie_word_embeddings", config.ties == Ties::target_output);
  json.set("max_position_embeddings", config.max_positions);
  json.set("rope_theta", config.rotary.base);
  json.set("rope_scaling", rotary_scaling_to_json(config.rotary));
  write_window(json, config, family);
  if (family.norms_after) {
    if (config.window != 0) {
      json.set("rope_local_base_freq", config.sliding_rotary.value_or(config.rotary).base);
    }
    const double scalar = config.query_scalar != 0
                              ? config.query_scalar
                              : static_cast<double>(config.decoder_head_width());
    json.set("query_pre_attn_scalar", static_cast<int64_t>(scalar));
  }
  write_tokens(json, config);
  return json;
}

}  // namespace

bool is_language_type(std::string_view model_type) { return find_family(model_type) != nullptr; }

std::string_view language_types() { return "llama, mistral, qwen2, qwen3 or gemma3_text"; }

TransformerConfig read_language_config(const io::Field& json) {
  TransformerConfig config = parse(json, *find_family(json["model_type"].text()));
  config.check();
  return config;
}

io::Value language_to_json(const TransformerConfig& config) {
  for (const Family& family : kFamilies) {
    io::Value json = write(config, family);
    if (parse(io::Field(json, "config"), family) == config) return json;
  }
  detail::throw_error(str("config: a language model that is none of ", language_types(),
                          " as Hugging Face computes them; expected one to save it as"));
}

bool stores_norms_less_one(const TransformerConfig& config) {
  return config.is_language_model() && config.normalizes_after();
}

}  // namespace heddle::model
