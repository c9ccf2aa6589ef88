#include "heddle/model/lora.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/base/random.h"
#include "heddle/io/quoted.h"
#include "heddle/model/parameter_names.h"

namespace heddle::model {

namespace {

constexpr const char* kAllLinear = "all-linear";

/// "model.norm.weight" → "model.norm".
std::string module_of(const std::string& parameter) {
  return parameter.substr(0, parameter.rfind('.'));
}

bool is_called(const std::string& module, const std::string& name) {
  return module == name || module.ends_with("." + name);
}

/// The projections of all layers with their shapes.
std::vector<ParameterShape> projections_of(const TransformerConfig& config) {
  HEDDLE_CHECK(config.is_language_model(),
               "lora: found an encoder–decoder; expected a language model");
  std::vector<ParameterShape> found;
  for (const ParameterShape& each : parameters_of(config)) {
    if (each.shape.rank() == 2 && each.name.find(".layers.") != each.name.npos) {
      found.push_back({module_of(each.name), each.shape});
    }
  }
  return found;
}

Tensor zeros(const Shape& shape) { return Tensor::zeros(shape, DType::f32); }

Tensor f32_copy(const Tensor& from) {
  Tensor to = Tensor::empty(from.shape(), DType::f32);
  std::copy_n(from.data<float>(), from.elements(), to.data<float>());
  return to;
}

void check_settings(const LoraSettings& settings) {
  HEDDLE_CHECK(settings.rank >= 1 && settings.rank <= 65'536, "lora_rank: found ", settings.rank,
               "; expected 1 … 65536");
  HEDDLE_CHECK(std::isfinite(settings.alpha) && settings.alpha > 0, "lora_alpha: found ",
               settings.alpha, "; expected a number above 0");
  HEDDLE_CHECK(settings.dropout >= 0 && settings.dropout < 1, "lora_dropout: found ",
               settings.dropout, "; expected 0 or more, below 1");
}

}  // namespace

double LoraSettings::scale() const {
  const auto r = static_cast<double>(rank);
  return alpha / (use_rslora ? std::sqrt(r) : r);
}

std::vector<std::string> adapted_modules(const TransformerConfig& config,
                                         const LoraSettings& settings) {
  const std::vector<ParameterShape> all = projections_of(config);
  std::vector<std::string> names;
  for (const ParameterShape& each : all) names.push_back(each.name);
  if (settings.targets == std::vector<std::string>{kAllLinear}) return names;
  for (const std::string& target : settings.targets) {
    const bool known =
        std::ranges::any_of(names, [&](const auto& name) { return is_called(name, target); });
    HEDDLE_CHECK(known, "lora_target: found ", io::quoted(target),
                 ", which no linear layer of this model is called; expected all-linear, or some of "
                 "q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj");
  }
  std::erase_if(names, [&](const std::string& name) {
    return std::ranges::none_of(settings.targets,
                                [&](const auto& target) { return is_called(name, target); });
  });
  return names;
}

std::vector<std::string> saved_parameters(const TransformerConfig& config,
                                          const LoraSettings& settings) {
  const ParameterNames names(config);
  const std::string table = names.table(Side::decoder);
  const bool tied = names.output() == table;
  std::vector<std::string> found;
  std::map<std::string, bool> used;
  for (const ParameterShape& each : parameters_of(config)) {
    const std::string module = module_of(each.name);
    for (const std::string& wanted : settings.saved) {
      const bool output = tied && wanted == "lm_head" && each.name == table;
      if (!is_called(module, wanted) && !output) continue;
      used[wanted] = true;
      if (found.empty() || found.back() != each.name) found.push_back(each.name);
    }
  }
  for (const std::string& wanted : settings.saved) {
    HEDDLE_CHECK(used[wanted], "modules_to_save: found ", io::quoted(wanted),
                 ", which no module of this model is called; expected embed_tokens, lm_head, norm, "
                 "input_layernorm, …");
  }
  for (const std::string& module : adapted_modules(config, settings)) {
    HEDDLE_CHECK(std::ranges::find(found, module + ".weight") == found.end(),
                 "modules_to_save: ", module, " is in lora_target too; expected it in one of them");
  }
  return found;
}

std::vector<ParameterShape> lora_parameters(const TransformerConfig& config,
                                            const LoraSettings& settings) {
  check_settings(settings);
  std::map<std::string, Shape> shapes;
  for (const ParameterShape& each : projections_of(config)) shapes.emplace(each.name, each.shape);
  std::vector<ParameterShape> list;
  for (const std::string& module : adapted_modules(config, settings)) {
    const Shape& shape = shapes.at(module);
    list.push_back({module + ".lora_A.weight", {settings.rank, shape[1]}});
    list.push_back({module + ".lora_B.weight", {shape[0], settings.rank}});
    if (settings.use_dora) list.push_back({module + ".lora_magnitude_vector", {shape[0]}});
  }
  return list;
}

Adapter new_adapter(const ModelFiles& base, const LoraSettings& settings, uint64_t seed) {
  HEDDLE_CHECK(!settings.targets.empty(), "lora_target: expected modules, or all-linear");
  Adapter adapter{.settings = settings, .base = {}, .parameters = {}};
  uint64_t stream = 0;
  for (const ParameterShape& each : lora_parameters(base.config, settings)) {
    Tensor values = zeros(each.shape);
    if (each.name.ends_with("lora_A.weight")) {
      Random random(seed, stream++);
      const double limit = 1 / std::sqrt(static_cast<double>(each.shape[1]));
      float* to = values.data<float>();
      for (int64_t i = 0; i < values.elements(); ++i) {
        to[i] = static_cast<float>(limit * (2 * random.uniform() - 1));
      }
    } else if (each.name.ends_with("lora_magnitude_vector")) {
      const Parameter* weight = base.parameters.find(module_of(each.name) + ".weight");
      HEDDLE_CHECK(weight != nullptr, "lora: ", module_of(each.name), ".weight is missing");
      values = row_lengths(to_f32(*weight));
    }
    adapter.parameters.add(each.name, {.values = values});
  }
  for (const std::string& name : saved_parameters(base.config, settings)) {
    const Parameter* own = base.parameters.find(name);
    HEDDLE_CHECK(own != nullptr, "lora: ", name, " is missing");
    adapter.parameters.add(name, {.values = f32_copy(to_f32(*own))});
  }
  return adapter;
}

void check_adapter(const TransformerConfig& config, const Adapter& adapter) {
  size_t expected = 0;
  const auto require = [&](const std::string& name, const Shape& shape) {
    const Tensor& values = adapter.parameters.require(name, shape).values;
    HEDDLE_CHECK(values.dtype() == DType::f32, "adapter: ", name, " is ", name_of(values.dtype()),
                 "; expected f32");
    ++expected;
  };
  for (const ParameterShape& each : lora_parameters(config, adapter.settings)) {
    require(each.name, each.shape);
  }
  const std::vector<std::string> saved = saved_parameters(config, adapter.settings);
  for (const ParameterShape& each : parameters_of(config)) {
    if (std::ranges::find(saved, each.name) != saved.end()) require(each.name, each.shape);
  }
  HEDDLE_CHECK(adapter.parameters.size() == expected, "adapter: found ", adapter.parameters.size(),
               " tensors; expected ", expected,
               ", those of its target_modules and modules_to_save");
}

ModelFiles merged(ModelFiles base, const Adapter& adapter) {
  check_adapter(base.config, adapter);
  const LoraSettings& settings = adapter.settings;
  for (const std::string& module : adapted_modules(base.config, settings)) {
    Parameter* weight = base.parameters.find(module + ".weight");
    HEDDLE_CHECK(weight != nullptr, "lora: ", module, ".weight is missing");
    const auto part = [&](const char* name) {
      return adapter.parameters.find(module + name)->values;
    };
    Tensor changed = changed_weight(to_f32(*weight), part(".lora_A.weight"), part(".lora_B.weight"),
                                    settings.scale());
    if (settings.use_dora) {
      const Tensor lengths = row_lengths(changed), magnitude = part(".lora_magnitude_vector");
      const int64_t columns = changed.dim(1);
      for (int64_t n = 0; n < changed.dim(0); ++n) {
        const float gain = magnitude.data<float>()[n] / lengths.data<float>()[n];
        float* row = changed.data<float>() + n * columns;
        for (int64_t k = 0; k < columns; ++k) row[k] *= gain;
      }
    }
    *weight = {.values = changed};
  }
  for (const std::string& name : saved_parameters(base.config, settings)) {
    *base.parameters.find(name) = {.values = adapter.parameters.find(name)->values};
  }
  return base;
}

Tensor changed_weight(const Tensor& weight, const Tensor& a, const Tensor& b, double scale) {
  Tensor changed = f32_copy(weight);
  const int64_t rows = weight.dim(0), columns = weight.dim(1), rank = a.dim(0);
  for (int64_t n = 0; n < rows; ++n) {
    float* to = changed.data<float>() + n * columns;
    for (int64_t j = 0; j < rank; ++j) {
      const auto factor = static_cast<float>(scale * double{b.data<float>()[n * rank + j]});
      const float* from = a.data<float>() + j * columns;
      for (int64_t k = 0; k < columns; ++k) to[k] += factor * from[k];
    }
  }
  return changed;
}

Tensor row_lengths(const Tensor& matrix) {
  const int64_t columns = matrix.dim(1);
  Tensor lengths = Tensor::empty({matrix.dim(0)}, DType::f32);
  for (int64_t n = 0; n < matrix.dim(0); ++n) {
    const float* row = matrix.data<float>() + n * columns;
    double squares = 0;
    for (int64_t k = 0; k < columns; ++k) squares += double{row[k]} * double{row[k]};
    lengths.data<float>()[n] = static_cast<float>(std::sqrt(squares));
  }
  return lengths;
}

}  // namespace heddle::model
