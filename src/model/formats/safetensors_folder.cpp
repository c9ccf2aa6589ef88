// Directories with config.json and model.safetensors: ours, and Hugging Face's MarianMT and
// language models.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
#include "heddle/io/safetensors.h"
#include "heddle/io/source.h"
#include "heddle/model/config_language.h"
#include "heddle/model/formats/convert.h"
#include "heddle/model/formats/loaders.h"

namespace heddle::model {

namespace {

constexpr uint64_t kLongestConfig = uint64_t{4} << 20;
constexpr std::string_view kWeightScale = "weight_scale", kInputScale = "input_scale";
constexpr std::string_view kShared = "model.shared.weight";
constexpr std::string_view kEncoderTable = "model.encoder.embed_tokens.weight";
constexpr std::string_view kDecoderTable = "model.decoder.embed_tokens.weight";
constexpr std::string_view kOutput = "lm_head.weight";
constexpr std::string_view kLanguageTable = "model.embed_tokens.weight";

class Loader {
 public:
  explicit Loader(const std::string& directory) : directory_(directory), files_(weights_path()) {
    for (const io::SafetensorsFile& file : files_.files()) {
      for (const io::TensorEntry& entry : file.tensors()) {
        entries_.emplace(entry.name, std::pair(&file, &entry));
      }
    }
  }

  ModelFiles load() {
    read_config_file();
    drop_what_is_computed();
    merge_tied();
    while (!entries_.empty()) take(entries_.begin()->first);
    if (model_.config.is_language_model()) {
      complete_norms();
      find_companions();
    } else {
      find_vocabularies();
    }
    return std::move(model_);
  }

 private:
  using Entry = std::pair<const io::SafetensorsFile*, const io::TensorEntry*>;

  std::string path(std::string_view name) const { return io::join_path(directory_, name); }

  std::string weights_path() const {
    std::string single = path("model.safetensors");
    return io::exists(single) ? single : path("model.safetensors.index.json");
  }

  void read_config_file() {
    const std::string name = path("config.json");
    HEDDLE_CHECK(io::exists(name), "model: ", directory_, ": found no config.json; expected one");
    const io::Value value = io::parse_json(io::read_text(name, kLongestConfig), name);
    model_.config = read_config(io::Field(value, str("config: ", name)));
  }

  [[noreturn]] void fail(const io::TensorEntry& entry, std::string_view expected) const {
    detail::throw_error(str("model: ", directory_, ": ", entry.name, ": found ", entry.type, " ",
                            entry.shape.text(), "; expected ", expected, " (offset ", entry.offset,
                            ")"));
  }

  /// Hugging Face stores sinusoids and rotary frequencies in some versions; they are computed here.
  void drop_what_is_computed() {
    std::erase_if(entries_, [](const auto& each) {
      return each.first.ends_with(".self_attn.rotary_emb.inv_freq");
    });
    if (model_.config.positions == Positions::learned) return;
    entries_.erase("model.encoder.embed_positions.weight");
    entries_.erase("model.decoder.embed_positions.weight");
  }

  /// Of tied matrices one is kept under the canonical name; copies must be equal.
  void merge_tied() {
    const Ties ties = model_.config.ties;
    if (model_.config.is_language_model()) {
      if (ties == Ties::target_output) merge(kLanguageTable, {kOutput});
      return;
    }
    if (ties == Ties::all) merge(kShared, {kEncoderTable, kDecoderTable, kOutput});
    if (ties == Ties::source_target) merge(kShared, {kEncoderTable, kDecoderTable});
    if (ties == Ties::target_output) merge(kDecoderTable, {kOutput});
    if (ties == Ties::target_output || ties == Ties::none) entries_.erase(std::string(kShared));
  }

  void merge(std::string_view kept, std::initializer_list<std::string_view> others) {
    for (const std::string_view other : others) {
      const auto copy = entries_.find(other);
      if (copy == entries_.end()) continue;
      const auto original = entries_.find(kept);
      if (original == entries_.end()) {
        entries_.emplace(kept, copy->second);
      } else {
        check_equal(original->second, copy->second);
      }
      entries_.erase(copy);
    }
  }

  void check_equal(const Entry& a, const Entry& b) const {
    const bool alike = a.second->shape == b.second->shape && a.second->type == b.second->type;
    HEDDLE_CHECK(
        alike && std::memcmp(a.first->read(*a.second).raw(), b.first->read(*b.second).raw(),
                             static_cast<size_t>(a.second->bytes)) == 0,
        "model: ", directory_, ": found ", b.second->name, " to differ from ", a.second->name,
        "; expected them equal, as config.json ties them");
  }

  Tensor read(const Entry& entry) const { return entry.first->read(*entry.second); }

  /// Takes a tensor out of the entries; with its scales when it is quantised.
  /// The name is a copy, as the entry that holds it goes.
  void take(const std::string name) {  // NOLINT(performance-unnecessary-value-param)
    const Entry entry = entries_.at(name);
    for (const std::string_view suffix : {kWeightScale, kInputScale}) {
      if (name.ends_with(suffix)) {
        const std::string weight = name.substr(0, name.size() - suffix.size()) + "weight";
        // Sorted before its weight: that one takes both.
        if (!entries_.contains(weight)) fail(*entry.second, "the scale of a weight");
        take(weight);
        return;
      }
    }
    Parameter parameter{flattened(read(entry), name)};
    entries_.erase(name);
    if (name.ends_with("weight")) {
      const std::string stem = name.substr(0, name.size() - std::string_view("weight").size());
      take_scales(stem, *entry.second, parameter);
    }
    model_.parameters.add(name, std::move(parameter));
  }

  /// Hugging Face has final_logits_bias as [1, V].
  static Tensor flattened(const Tensor& values, std::string_view name) {
    const bool row = name == "final_logits_bias" && values.rank() == 2 && values.dim(0) == 1;
    return row ? values.reshape({values.dim(1)}) : values;
  }

  void take_scales(const std::string& stem, const io::TensorEntry& weight, Parameter& parameter) {
    if (const auto scale = entries_.find(stem + std::string(kWeightScale));
        scale != entries_.end()) {
      const io::TensorEntry& entry = *scale->second.second;
      const bool fits = entry.shape == Shape{1} ||
                        (weight.shape.rank() == 2 && entry.shape == Shape{weight.shape[0]});
      if (weight.dtype != DType::i8) fail(weight, "I8, as it has a scale");
      if (entry.dtype != DType::f32 || !fits) fail(entry, "F32, one scale or one a row");
      parameter.scales = read(scale->second);
      check_scales(parameter.scales, entry);
      entries_.erase(scale);
    }
    if (const auto scale = entries_.find(stem + std::string(kInputScale));
        scale != entries_.end()) {
      const io::TensorEntry& entry = *scale->second.second;
      if (entry.dtype != DType::f32 || entry.shape != Shape{1} || weight.dtype != DType::i8) {
        fail(entry, "F32 [1] beside an I8 weight");
      }
      const Tensor value = read(scale->second);
      check_scales(value, entry);
      parameter.input_scale = *value.data<float>();
      entries_.erase(scale);
    }
  }

  void check_scales(const Tensor& scales, const io::TensorEntry& entry) const {
    for (int64_t i = 0; i < scales.elements(); ++i) {
      const float value = scales.data<float>()[i];
      HEDDLE_CHECK(std::isfinite(value) && value > 0, "model: ", directory_, ": ", entry.name,
                   ": found ", value, "; expected finite numbers above 0 (offset ",
                   entry.offset + 4 * static_cast<uint64_t>(i), ")");
    }
  }

  /// Gemma's norms multiply by 1 more than the file has.
  void complete_norms() {
    if (!stores_norms_less_one(model_.config)) return;
    for (const ParameterShape& each : parameters_of(model_.config)) {
      if (!each.name.ends_with("norm.weight")) continue;
      if (Parameter* norm = model_.parameters.find(each.name)) {
        norm->values = shifted(norm->values, 1);
      }
    }
  }

  void find_companions() {
    for (const char* name : {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
                             "tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json",
                             "chat_template.jinja", "generation_config.json"}) {
      if (io::exists(path(name))) model_.companions.push_back(path(name));
    }
  }

  std::string existing(std::initializer_list<const char*> names) const {
    for (const char* name : names) {
      if (io::exists(path(name))) return path(name);
    }
    return {};
  }

  void find_vocabularies() {
    model_.source_vocabulary = existing({"source.spm", "vocab.spm"});
    model_.target_vocabulary = existing({"target.spm", "source.spm", "vocab.spm"});
    model_.source_pieces =
        existing({"vocab.json", "source_vocab.json", "vocab.yml", "source_vocab.yml"});
    model_.target_pieces =
        existing({"target_vocab.json", "vocab.json", "target_vocab.yml", "vocab.yml"});
    model_.shortlist = existing({"shortlist.bin"});
  }

  std::string directory_;
  io::SafetensorsModel files_;
  std::map<std::string, Entry, std::less<>> entries_;
  ModelFiles model_;
};

}  // namespace

ModelFiles load_safetensors_folder(const std::string& directory) {
  return Loader(directory).load();
}

}  // namespace heddle::model
