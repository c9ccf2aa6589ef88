// Language models in GGUF files: metadata to config, llama.cpp's tensor names to ours. Quantised
// matrices become f32; those of 16 bits stay.
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <set>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/gguf.h"
#include "heddle/io/quoted.h"
#include "heddle/model/config_rotary.h"
#include "heddle/model/formats/loaders.h"
#include "heddle/model/position_table.h"

namespace heddle::model {

namespace {

constexpr int64_t kMostGguf = int64_t{1} << 30;
constexpr int64_t kMostBlocks = 1024;
constexpr std::string_view kRotaryFactors = "rope_freqs.weight";

/// The number that somebody wrote before it was stored in single precision: 1e-06, not
/// 9.99999997e-07.
double as_written(double stored) {
  std::array<char, 64> text;
  const auto single = static_cast<float>(stored);
  if (static_cast<double>(single) != stored) return stored;
  const auto end = std::to_chars(text.data(), text.data() + text.size(), single);
  double number = stored;
  std::from_chars(text.data(), end.ptr, number);
  return number;
}

/// Metadata of one architecture, whose keys begin with its name.
class Metadata {
 public:
  explicit Metadata(const io::GgufFile& file)
      : file_(file), architecture_(file.text("general.architecture")) {}

  const std::string& architecture() const { return architecture_; }
  std::string key(std::string_view name) const { return architecture_ + "." + std::string(name); }
  bool has(std::string_view name) const { return file_.find_key(key(name)) != nullptr; }
  int64_t integer(std::string_view name, int64_t low = 1, int64_t high = kMostGguf) const {
    return file_.integer(key(name), low, high);
  }
  int64_t integer_or(std::string_view name, int64_t otherwise, int64_t low = 0) const {
    return has(name) ? integer(name, low) : otherwise;
  }
  double number_or(std::string_view name, double otherwise) const {
    return has(name) ? as_written(file_.number(key(name))) : otherwise;
  }
  std::string text_or(std::string_view name, std::string_view otherwise) const {
    return has(name) ? file_.text(key(name)) : std::string(otherwise);
  }
  [[noreturn]] void fail(std::string_view name, std::string_view expected) const {
    file_.fail(*file_.find_key(key(name)), expected);
  }

  /// A token's number, or −1 where the key is absent.
  int32_t token(std::string_view name, int64_t vocabulary) const {
    const std::string key = "tokenizer.ggml." + std::string(name);
    if (file_.find_key(key) == nullptr) return -1;
    return static_cast<int32_t>(file_.integer(key, 0, vocabulary - 1));
  }

 private:
  const io::GgufFile& file_;
  const std::string architecture_;
};

/// llama.cpp's name of one of our parameters, or empty.
std::string gguf_name(const std::string& name, bool norms_after) {
  using Pair = std::pair<std::string_view, std::string_view>;
  static constexpr std::array<Pair, 13> kParts{
      {{"self_attn.q_proj", "attn_q"},
       {"self_attn.k_proj", "attn_k"},
       {"self_attn.v_proj", "attn_v"},
       {"self_attn.o_proj", "attn_output"},
       {"self_attn.q_norm", "attn_q_norm"},
       {"self_attn.k_norm", "attn_k_norm"},
       {"mlp.gate_proj", "ffn_gate"},
       {"mlp.up_proj", "ffn_up"},
       {"mlp.down_proj", "ffn_down"},
       {"input_layernorm", "attn_norm"},
       {"pre_feedforward_layernorm", "ffn_norm"},
       {"post_feedforward_layernorm", "post_ffw_norm"},
       {"post_attention_layernorm", "post_attention_norm"}}};
  constexpr std::string_view kLayers = "model.layers.";
  if (name == "model.embed_tokens.weight") return "token_embd.weight";
  if (name == "model.norm.weight") return "output_norm.weight";
  if (name == "lm_head.weight") return "output.weight";
  if (!name.starts_with(kLayers)) return {};
  const size_t dot = name.find('.', kLayers.size()), last = name.rfind('.');
  const std::string_view part = std::string_view(name).substr(dot + 1, last - dot - 1);
  std::string block = "blk." + name.substr(kLayers.size(), dot + 1 - kLayers.size());
  const std::string suffix = name.substr(last);
  if (part == "post_attention_layernorm" && !norms_after) return block + "ffn_norm" + suffix;
  for (const auto& [ours, theirs] : kParts) {
    if (ours == part) return block.append(theirs).append(suffix);
  }
  return {};
}

/// Rows of queries or keys in the order of a file of architecture llama, where the two numbers
/// that are turned together stand side by side, to halves.
Tensor halves_paired(const Tensor& rows, int64_t heads) {
  Tensor out = Tensor::empty(rows.shape(), rows.dtype());
  const int64_t count = rows.dim(0), width = count / heads, half = width / 2;
  const auto bytes = static_cast<size_t>(rows.elements() / count) * size_of(rows.dtype());
  const auto* from = static_cast<const std::byte*>(rows.raw());
  auto* to = static_cast<std::byte*>(out.raw());
  for (int64_t r = 0; r < count; ++r) {
    const int64_t head = r / width, at = r % width;
    const int64_t source = head * width + 2 * (at % half) + at / half;
    std::memcpy(to + static_cast<size_t>(r) * bytes, from + static_cast<size_t>(source) * bytes,
                bytes);
  }
  return out;
}

class GgufLoader {
 public:
  explicit GgufLoader(const std::string& path) : files_(path), keys_(files_.files().front()) {}

  ModelFiles load() {
    read_config();
    model_.config.check();
    for (const ParameterShape& each : parameters_of(model_.config)) take(each);
    for (const io::GgufFile& file : files_.files()) {
      for (const io::GgufTensor& tensor : file.tensors()) {
        if (!used_.contains(tensor.name)) {
          fail(tensor, str("tensors of ", keys_.architecture(), " alone"));
        }
      }
    }
    return std::move(model_);
  }

 private:
  struct Found {
    const io::GgufFile* file = nullptr;
    const io::GgufTensor* tensor = nullptr;
  };

  const io::GgufFile& head() const { return files_.files().front(); }

  Found find(std::string_view name) const {
    for (const io::GgufFile& file : files_.files()) {
      if (const io::GgufTensor* tensor = file.find_tensor(name)) return {&file, tensor};
    }
    return {};
  }

  [[noreturn]] void fail(const io::GgufTensor& tensor, std::string_view expected) const {
    detail::throw_error(str("gguf: ", head().source().name(), ": ", io::quoted(tensor.name),
                            ": found ", tensor.type, " ", tensor.shape.text(), "; expected ",
                            expected, " (offset ", tensor.header_offset, ")"));
  }

  void read_config() {
    const std::string& architecture = keys_.architecture();
    const bool llama = architecture == "llama", gemma = architecture == "gemma3";
    if (!llama && !gemma && architecture != "qwen2" && architecture != "qwen3") {
      head().fail(*head().find_key("general.architecture"), "llama, qwen2, qwen3 or gemma3");
    }
    if (keys_.integer_or("expert_count", 0) != 0) keys_.fail("expert_count", "0, dense layers");
    for (const char* cap : {"attn_logit_softcapping", "final_logit_softcapping"}) {
      if (keys_.number_or(cap, 0) != 0) keys_.fail(cap, "0: it is not supported");
    }
    TransformerConfig& config = model_.config;
    config.encoder.layers = 0;
    config.width = keys_.integer("embedding_length");
    StackConfig& stack = config.decoder;
    stack.layers = keys_.integer("block_count", 1, kMostBlocks);
    stack.heads = keys_.integer("attention.head_count");
    stack.key_value_heads = keys_.integer_or("attention.head_count_kv", stack.heads, 1);
    if (stack.key_value_heads == stack.heads) stack.key_value_heads = 0;
    stack.ffn_width = keys_.integer("feed_forward_length");
    read_head_width();

    config.preprocess = "n";
    config.postprocess = gemma ? "dna" : "da";
    config.postprocess_top = "n";
    config.norm = Norm::rms_norm;
    config.norm_bias = config.output_bias = false;
    config.norm_epsilon = keys_.number_or("attention.layer_norm_rms_epsilon", 1e-6);
    config.activation = gemma ? ActivationKind::gelu_tanh : ActivationKind::silu;
    config.gated = true;
    config.attention_bias = find("blk.0.attn_q.bias").tensor != nullptr;
    config.out_bias = !config.attention_bias || find("blk.0.attn_output.bias").tensor != nullptr;
    config.ffn_bias = find("blk.0.ffn_up.bias").tensor != nullptr;
    config.head_norms = gemma || architecture == "qwen3";
    config.ties = find("output.weight").tensor != nullptr ? Ties::none : Ties::target_output;
    config.scale_embedding = gemma;
    config.positions = Positions::rotary;
    config.max_positions = keys_.integer("context_length");
    read_window();
    read_rotary();
    // The largest Gemma 3 alone divides by D / H; llama.cpp knows it by its layers, too.
    constexpr int64_t kLayersOf27B = 62;
    if (gemma && stack.layers == kLayersOf27B) {
      config.query_scalar = static_cast<double>(config.width) / static_cast<double>(stack.heads);
    }
    read_tokens();
  }

  void read_head_width() {
    TransformerConfig& config = model_.config;
    config.head_width = keys_.integer_or("attention.key_length", 0, 1);
    if (keys_.integer_or("attention.value_length", config.head_width, 1) != config.head_width) {
      keys_.fail("attention.value_length", str(config.head_width, ", as of keys"));
    }
    if (config.head_width <= config.width &&
        config.head_width * config.decoder.heads == config.width) {
      config.head_width = 0;
    }
    const int64_t width = config.decoder_head_width();
    if (keys_.integer_or("rope.dimension_count", width, 1) != width) {
      keys_.fail("rope.dimension_count", str(width, ": heads are turned as a whole"));
    }
  }

  void read_window() {
    TransformerConfig& config = model_.config;
    const bool gemma = keys_.architecture() == "gemma3";
    if (!gemma && keys_.architecture() != "llama") return;  // Qwen's is not in use
    config.window = keys_.integer_or("attention.sliding_window", 0);
    if (config.window == 0) return;
    const int64_t pattern = keys_.integer_or("attention.sliding_window_pattern", 6, 1);
    for (int64_t i = 0; i < config.decoder.layers; ++i) {
      config.sliding_layers.push_back(!gemma || (i + 1) % pattern != 0);
    }
  }

  void read_rotary() {
    TransformerConfig& config = model_.config;
    RotaryConfig& rotary = config.rotary;
    rotary.base = keys_.number_or("rope.freq_base", 10000);
    const std::string type = keys_.text_or("rope.scaling.type", "none");
    rotary.factor = keys_.number_or("rope.scaling.factor", 1);
    if (type == "linear") {
      rotary.scaling = RotaryScaling::linear;
    } else if (type == "yarn") {
      rotary.scaling = RotaryScaling::yarn;
      rotary.original_positions =
          keys_.integer_or("rope.scaling.original_context_length", config.max_positions, 1);
      rotary.fast_turns = keys_.number_or("rope.scaling.yarn_beta_fast", 32);
      rotary.slow_turns = keys_.number_or("rope.scaling.yarn_beta_slow", 1);
      rotary.magnitude =
          yarn_magnitude(rotary.factor) * keys_.number_or("rope.scaling.attn_factor", 1);
    } else if (type == "none") {
      rotary.factor = 1;
    } else {
      keys_.fail("rope.scaling.type", "none, linear or yarn");
    }
    raise_positions(config);
    if (const Found factors = find(kRotaryFactors); factors.tensor != nullptr) {
      read_factors(factors);
    }
    if (keys_.architecture() == "gemma3" && config.window != 0) {
      const RotaryConfig sliding{.base = keys_.number_or("rope.freq_base_swa", 10000)};
      if (sliding != rotary) config.sliding_rotary = sliding;
    }
  }

  /// Llama 3.1's scaling lies in the file as what it divides each frequency by.
  void read_factors(const Found& found) {
    const int64_t half = model_.config.decoder_head_width() / 2;
    if (found.tensor->shape != Shape{half}) fail(*found.tensor, str("F32 [", half, "]"));
    const Tensor factors = found.file->read(*found.tensor);
    const float* divisors = factors.data<float>();
    RotaryConfig& rotary = model_.config.rotary;
    RotaryConfig plain = rotary;
    plain.scaling = RotaryScaling::none;
    rotary.scaling = RotaryScaling::llama3;
    rotary.factor = as_written(*std::max_element(divisors, divisors + half));
    rotary.original_positions = 8192;
    const std::vector<double> expected = rotary_frequencies(rotary, 2 * half);
    const std::vector<double> unscaled = rotary_frequencies(plain, 2 * half);
    for (size_t i = 0; i < expected.size(); ++i) {
      const double turned = unscaled[i] / static_cast<double>(divisors[i]);
      if (!(std::abs(turned - expected[i]) <= 1e-5 * expected[i])) {
        fail(*found.tensor, "the factors of Llama 3.1, from 8192 positions on");
      }
    }
    used_.insert(std::string(kRotaryFactors));
  }

  void read_tokens() {
    TransformerConfig& config = model_.config;
    const Found table = find("token_embd.weight");
    HEDDLE_CHECK(table.tensor != nullptr, "gguf: ", head().source().name(),
                 ": found no token_embd.weight; expected one");
    if (table.tensor->shape.rank() != 2) fail(*table.tensor, "a matrix");
    config.source_vocabulary = config.target_vocabulary = table.tensor->shape[0];
    if (const io::GgufPair* pieces = head().find_key("tokenizer.ggml.tokens")) {
      const auto* array = std::get_if<io::GgufArray>(&pieces->value);
      if (array == nullptr || static_cast<int64_t>(array->count) != config.target_vocabulary) {
        head().fail(*pieces,
                    str(config.target_vocabulary, " texts, as token_embd.weight has rows"));
      }
    }
    config.decoder_start = keys_.token("bos_token_id", config.target_vocabulary);
    config.eos = keys_.token("eos_token_id", config.target_vocabulary);
    config.pad = keys_.token("padding_token_id", config.target_vocabulary);
    config.unk = -1;
    config.ends_source = false;
    const int32_t end_of_turn = keys_.token("eot_token_id", config.target_vocabulary);
    if (end_of_turn >= 0 && end_of_turn != config.eos) config.other_eos.push_back(end_of_turn);
  }

  void take(const ParameterShape& wanted) {
    const std::string name = gguf_name(wanted.name, model_.config.normalizes_after());
    const Found found = find(name);
    HEDDLE_CHECK(found.tensor != nullptr, "gguf: ", head().source().name(), ": found no ",
                 io::quoted(name), "; expected one, ", wanted.shape.text());
    if (found.tensor->shape != wanted.shape) fail(*found.tensor, wanted.shape.text());
    Tensor values = read(found);
    const bool queries = name.find(".attn_q.") != std::string::npos;
    const bool keys = name.find(".attn_k.") != std::string::npos;
    if (keys_.architecture() == "llama" && (queries || keys)) {
      values = halves_paired(
          values, queries ? model_.config.decoder.heads : model_.config.decoder_key_value_heads());
    }
    used_.insert(name);
    model_.parameters.add(wanted.name, {.values = std::move(values)});
  }

  static Tensor read(const Found& found) {
    const io::GgufTensor& tensor = *found.tensor;
    if (tensor.type != "F16" && tensor.type != "BF16") return found.file->read(tensor);
    Tensor values = Tensor::empty(tensor.shape, tensor.type == "F16" ? DType::f16 : DType::bf16);
    found.file->source().read(values.raw(), static_cast<size_t>(tensor.bytes), tensor.offset);
    return values;
  }

  io::GgufModel files_;
  Metadata keys_;
  ModelFiles model_;
  std::set<std::string, std::less<>> used_;
};

}  // namespace

ModelFiles load_gguf(const std::string& path) { return GgufLoader(path).load(); }

}  // namespace heddle::model
