#include "heddle/model/formats/peft.h"

#include <algorithm>
#include <map>
#include <set>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
#include "heddle/io/safetensors.h"
#include "heddle/io/source.h"
#include "heddle/model/config_language.h"
#include "heddle/model/formats/convert.h"
#include "heddle/model/parameter_names.h"
#include "heddle/model/training.h"

namespace heddle::model {

namespace {

constexpr const char* kConfig = "adapter_config.json";
constexpr const char* kTensors = "adapter_model.safetensors";
constexpr const char* kPrefix = "base_model.model.";
constexpr const char* kScoreTask = "SEQ_CLS";
constexpr uint64_t kMostConfigBytes = 1 << 20;

io::Value read_config_json(const std::string& folder) {
  const std::string path = io::join_path(folder, kConfig);
  return io::parse_json(io::read_text(path, kMostConfigBytes), path);
}

/// Whether a setting is there and says something: not null, false, 0, "", [] or {}.
bool says_something(const io::Field& field) {
  const io::Value& value = field.value();
  if (value.is_null()) return false;
  if (value.boolean() != nullptr) return *value.boolean();
  if (value.list() != nullptr) return !value.list()->empty();
  if (value.map() != nullptr) return !value.map()->empty();
  if (value.text() != nullptr) return !value.text()->empty() && *value.text() != "none";
  return true;
}

std::vector<std::string> names_in(const io::Field& json, const char* key) {
  std::vector<std::string> names;
  const auto found = json.find(key);
  if (!found || found->value().is_null()) return names;
  if (found->value().text() != nullptr) {
    HEDDLE_CHECK(found->text() == "all-linear", "adapter: ", key, ": found the pattern ",
                 io::quoted(found->text()), "; expected a list of modules, or all-linear");
    return {found->text()};
  }
  for (const io::Field& item : found->items()) names.push_back(item.text());
  return names;
}

LoraSettings settings_of(const io::Field& json) {
  const std::string type = json["peft_type"].text();
  HEDDLE_CHECK(type == "LORA", "adapter: peft_type: found ", io::quoted(type), "; expected LORA");
  for (const char* key :
       {"rank_pattern", "alpha_pattern", "layers_to_transform", "layers_pattern", "exclude_modules",
        "layer_replication", "lora_bias", "fan_in_fan_out", "bias", "trainable_token_indices",
        "target_parameters", "alora_invocation_tokens", "use_qalora", "use_bdlora",
        "megatron_config", "arrow_config", "kasa_config", "velora_config", "monteclora_config"}) {
    const auto field = json.find(key);
    HEDDLE_CHECK(!field || !says_something(*field), "adapter: ", key, ": found ",
                 field ? io::to_json(field->value()) : "",
                 ", which is not known here; expected an "
                 "adapter without it");
  }
  const auto flag = [&](const char* key) {
    const auto field = json.find(key);
    return field && !field->value().is_null() && field->boolean();
  };
  LoraSettings settings;
  settings.rank = json.integer_or("r", 8, 1, 65'536);
  settings.alpha = json.number_or("lora_alpha", 8);
  settings.dropout = json.number_or("lora_dropout", 0);
  settings.use_rslora = flag("use_rslora");
  settings.use_dora = flag("use_dora");
  settings.targets = names_in(json, "target_modules");
  settings.saved = names_in(json, "modules_to_save");
  return settings;
}

/// The tied output's name, when it is one memory with the embedding; else "".
std::string tied_output(const TransformerConfig& config) {
  const ParameterNames names(config);
  return names.output() == names.table(Side::decoder) ? "lm_head.weight" : "";
}

bool same_numbers(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() &&
         std::equal(a.data<float>(), a.data<float>() + a.elements(), b.data<float>());
}

/// "q_proj" of every adapted module, each once.
std::vector<std::string> last_names(const std::vector<std::string>& modules) {
  std::set<std::string> names;
  for (const std::string& module : modules) names.insert(module.substr(module.rfind('.') + 1));
  return {names.begin(), names.end()};
}

io::Value list_of(const std::vector<std::string>& names) {
  io::Value::List list;
  for (const std::string& name : names) list.emplace_back(name);
  return list;
}

io::Value config_of(const Adapter& adapter, const TransformerConfig& config) {
  const LoraSettings& settings = adapter.settings;
  io::Value json;
  json.set("base_model_name_or_path", adapter.base);
  json.set("bias", "none");
  json.set("fan_in_fan_out", false);
  json.set("inference_mode", true);
  json.set("init_lora_weights", true);
  json.set("lora_alpha", settings.alpha);
  json.set("lora_dropout", settings.dropout);
  std::vector<std::string> saved = settings.saved;
  const std::vector<std::string> trained = saved_parameters(config, settings);
  const std::string table = ParameterNames(config).table(Side::decoder);
  const bool tied =
      !tied_output(config).empty() && std::ranges::find(trained, table) != trained.end();
  if (tied) {  // each of the two has a tensor of its own there
    for (const char* name : {"embed_tokens", "lm_head"}) {
      if (std::ranges::find(saved, name) == saved.end()) saved.emplace_back(name);
    }
  }
  json.set("modules_to_save", saved.empty() ? io::Value() : list_of(saved));
  json.set("peft_type", "LORA");
  json.set("r", settings.rank);
  json.set("target_modules", list_of(last_names(adapted_modules(config, settings))));
  json.set("task_type", config.scores ? kScoreTask : "CAUSAL_LM");
  json.set("use_dora", settings.use_dora);
  json.set("use_rslora", settings.use_rslora);
  return json;
}

}  // namespace

bool is_adapter(const std::string& path) {
  return io::is_directory(path) && io::exists(io::join_path(path, kConfig));
}

std::string base_of_adapter(const std::string& folder) {
  const io::Value value = read_config_json(folder);
  const auto base = io::Field(value, folder).find("base_model_name_or_path");
  return base && base->value().text() != nullptr ? base->text() : std::string();
}

ModelFiles base_for(const std::string& folder, ModelFiles model) {
  const io::Value value = read_config_json(folder);
  const io::Field json(value, io::join_path(folder, kConfig));
  const auto task = json.find("task_type");
  const bool scores = task && task->value().text() != nullptr && task->text() == kScoreTask;
  if (!scores || model.config.scores) return model;
  const std::vector<std::string> saved = names_in(json, "modules_to_save");
  HEDDLE_CHECK(std::ranges::find(saved, "score") != saved.end(), "adapter: ", folder,
               ": found task_type ", kScoreTask,
               " without a score; expected it in modules_to_save");
  return with_score(std::move(model), 0);
}

Adapter load_adapter(const std::string& folder, const TransformerConfig& config) {
  const io::Value value = read_config_json(folder);
  Adapter adapter{.settings = settings_of(io::Field(value, io::join_path(folder, kConfig))),
                  .base = base_of_adapter(folder),
                  .parameters = {}};
  const std::string path = io::join_path(folder, kTensors);
  const io::SafetensorsFile file{io::Source(path)};
  const std::string output = tied_output(config),
                    table = ParameterNames(config).table(Side::decoder);
  const bool less_one = stores_norms_less_one(config);
  Tensor output_values;
  for (const io::TensorEntry& entry : file.tensors()) {
    HEDDLE_CHECK(entry.name.starts_with(kPrefix), path, ": found ", io::quoted(entry.name),
                 "; expected names that begin with ", kPrefix);
    const std::string name = entry.name.substr(std::string_view(kPrefix).size());
    Tensor values = to_f32({.values = file.read(entry)});
    if (less_one && name.ends_with("norm.weight")) values = shifted(values, 1);
    if (name == output) {
      output_values = values;
    } else {
      adapter.parameters.add(name, {.values = values});
    }
  }
  if (output_values.defined()) {
    const Parameter* embedding = adapter.parameters.find(table);
    HEDDLE_CHECK(embedding != nullptr && same_numbers(embedding->values, output_values), path,
                 ": found an output of its own for a model whose embeddings are tied; expected ",
                 table, " and ", output, " with the same numbers");
  }
  check_adapter(config, adapter);
  return adapter;
}

void save_adapter(const Adapter& adapter, const TransformerConfig& config,
                  const std::string& folder, io::FileOperations& files) {
  check_adapter(config, adapter);
  io::make_folder(folder);
  const bool less_one = stores_norms_less_one(config);
  const std::string output = tied_output(config),
                    table = ParameterNames(config).table(Side::decoder);
  std::map<std::string, Tensor> tensors;
  for (const auto& [name, parameter] : adapter.parameters) {
    const bool norm = less_one && name.ends_with("norm.weight");
    const Tensor values = norm ? shifted(parameter.values, -1) : parameter.values;
    tensors.emplace(kPrefix + name, values);
    if (name == table && !output.empty()) tensors.emplace(kPrefix + output, values);
  }
  io::write_safetensors(io::join_path(folder, kTensors), tensors, {{"format", "pt"}}, files);
  io::write_file(io::join_path(folder, kConfig), io::to_json(config_of(adapter, config), 2) + "\n",
                 files);
}

}  // namespace heddle::model
