#include "heddle/model/low_rank.h"

#include <algorithm>
#include <map>

#include "heddle/base/error.h"
#include "heddle/model/weights.h"

namespace heddle::model {

namespace {

const Tensor& at(std::span<const Tensor> values, ParameterNumber number) {
  return values[static_cast<size_t>(number)];
}

Tensor scaled(const Tensor& values, float factor) {
  Tensor out = Tensor::empty(values.shape(), DType::f32);
  const float* from = values.data<float>();
  std::transform(from, from + values.elements(), out.data<float>(),
                 [factor](float value) { return value * factor; });
  return out;
}

std::vector<ops::Weight> downs(const LowRank& low, std::span<const Tensor> values) {
  std::vector<ops::Weight> all;
  for (const LowRank::Change& change : low.changes) all.push_back({at(values, change.a)});
  return all;
}

/// DoRA's factors of the rows.
void set_gain(LowRank::Change& change, float scale, std::span<const Tensor> values) {
  if (change.magnitude < 0 || !at(values, change.weight).defined()) return;
  const Tensor lengths = row_lengths(changed_weight(at(values, change.weight), at(values, change.a),
                                                    at(values, change.b), double{scale}));
  const float* magnitude = at(values, change.magnitude).data<float>();
  change.gain.resize(static_cast<size_t>(change.rows));
  change.inverse_length.resize(change.gain.size());
  for (size_t n = 0; n < change.gain.size(); ++n) {
    change.inverse_length[n] = 1 / lengths.data<float>()[n];
    change.gain[n] = magnitude[n] * change.inverse_length[n];
  }
}

template <typename F>
void for_each_part(Weights& weights, const F& body) {
  for (DecoderLayer& layer : weights.decoder) {
    for (Projection* each : {&layer.attention.in, &layer.attention.out, &layer.feed_forward.in,
                             &layer.feed_forward.out}) {
      for (Projection::Part& part : each->parts) body(part);
    }
  }
}

}  // namespace

void attach(Weights& weights, const LoraSettings& settings, std::span<const Tensor> values) {
  std::map<std::string, ParameterNumber> numbers;
  std::vector<std::string> names;
  for (const ParameterShape& each : parameters_of(weights.config)) names.push_back(each.name);
  for (const ParameterShape& each : lora_parameters(weights.config, settings)) {
    numbers.emplace(each.name, static_cast<ParameterNumber>(names.size() + numbers.size()));
  }
  HEDDLE_CHECK(values.size() == names.size() + numbers.size(), "lora: ", values.size(),
               " parameters; expected ", names.size() + numbers.size());
  const auto number = [&](const std::string& name) {
    const auto found = numbers.find(name);
    return found == numbers.end() ? -1 : found->second;
  };
  for_each_part(weights, [&](Projection::Part& part) {
    LowRank low{.down = {},
                .changes = {},
                .rank = settings.rank,
                .scale = static_cast<float>(settings.scale()),
                .dropout = settings.dropout};
    int64_t first = 0;
    for (const Projection::Part::Source& source : part.sources) {
      const std::string& weight = names[static_cast<size_t>(source.weight)];
      const std::string module = weight.substr(0, weight.rfind('.'));
      if (const ParameterNumber a = number(module + ".lora_A.weight"); a >= 0) {
        LowRank::Change change{.first = first,
                               .rows = source.rows,
                               .weight = source.weight,
                               .a = a,
                               .b = number(module + ".lora_B.weight"),
                               .magnitude = number(module + ".lora_magnitude_vector"),
                               .up = {},
                               .gain = {},
                               .inverse_length = {}};
        change.up = ops::Matrix({scaled(at(values, change.b), low.scale)}, ops::Precision::f32);
        set_gain(change, low.scale, values);
        low.changes.push_back(std::move(change));
      }
      first += source.rows;
    }
    if (low.changes.empty()) return;
    low.down = ops::Matrix::stack(downs(low, values), ops::Precision::f32);
    part.low_rank = std::move(low);
  });
}

void update_low_rank(Weights& weights, std::span<const Tensor> values) {
  for_each_part(weights, [&](Projection::Part& part) {
    if (!part.low_rank) return;
    LowRank& low = *part.low_rank;
    low.down.assign(downs(low, values));
    for (LowRank::Change& change : low.changes) {
      const ops::Weight up{scaled(at(values, change.b), low.scale)};
      change.up.assign({&up, 1});
      set_gain(change, low.scale, values);
    }
  });
}

}  // namespace heddle::model
