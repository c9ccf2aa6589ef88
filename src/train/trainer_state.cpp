#include "heddle/train/trainer_state.h"

#include <bit>
#include <charconv>
#include <optional>

#include "heddle/base/error.h"
#include "heddle/io/hash64.h"
#include "heddle/io/json.h"

namespace heddle::train {

namespace {

io::Value bits_of(double value) { return io::hex64(std::bit_cast<uint64_t>(value)); }

double double_of(const io::Field& field) {
  const std::string& text = field.text();
  uint64_t bits = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bits, 16);
  if (text.size() != 16 || error != std::errc() || end != text.data() + text.size()) {
    field.fail("16 hexadecimal digits");
  }
  return std::bit_cast<double>(bits);
}

int64_t count_of(const io::Field& field) { return field.integer(0, INT64_MAX); }

io::Value to_value(const Spread& spread) {
  io::Value value;
  value.set("mean", bits_of(spread.mean));
  value.set("variance", bits_of(spread.variance));
  value.set("count", spread.count);
  return value;
}

/// Checkpoints did not always have it.
Spread spread_of(const std::optional<io::Field>& field) {
  if (!field) return {};
  return {double_of((*field)["mean"]), double_of((*field)["variance"]),
          count_of((*field)["count"])};
}

}  // namespace

io::Value to_value(const TrainerState& state) {
  io::Value value;
  value.set("step", state.step);
  value.set("epoch", static_cast<int64_t>(state.position.epoch));
  value.set("window", static_cast<int64_t>(state.position.window));
  value.set("batch", static_cast<int64_t>(state.position.batch));
  value.set("tokens", state.tokens);
  value.set("skipped", state.skipped);
  value.set("skipped_in_row", state.skipped_in_row);
  value.set("loss_spread", to_value(state.loss));
  value.set("norm_spread", to_value(state.norm));
  value.set("interval_loss", bits_of(state.interval.loss));
  value.set("interval_nll", bits_of(state.interval.nll));
  value.set("interval_weight", bits_of(state.interval.weight));
  value.set("interval_tokens", state.interval.tokens);
  value.set("interval_correct", state.interval.correct);
  io::Value::List figures;
  for (const double each : state.interval.figures) figures.push_back(bits_of(each));
  value.set("interval_figures", std::move(figures));
  value.set("best_loss", bits_of(state.best_loss));
  value.set("best_step", state.best_step);
  value.set("evaluations_without_gain", state.evaluations_without_gain);
  return value;
}

TrainerState state_of(const io::Field& field) {
  TrainerState state;
  state.step = count_of(field["step"]);
  state.position.epoch = static_cast<uint64_t>(count_of(field["epoch"]));
  state.position.window = static_cast<uint64_t>(count_of(field["window"]));
  state.position.batch = static_cast<uint64_t>(count_of(field["batch"]));
  state.tokens = count_of(field["tokens"]);
  state.skipped = count_of(field["skipped"]);
  state.skipped_in_row = count_of(field["skipped_in_row"]);
  state.loss = spread_of(field.find("loss_spread"));
  state.norm = spread_of(field.find("norm_spread"));
  state.interval.loss = double_of(field["interval_loss"]);
  state.interval.nll = double_of(field["interval_nll"]);
  state.interval.weight = double_of(field["interval_weight"]);
  state.interval.tokens = count_of(field["interval_tokens"]);
  state.interval.correct = count_of(field["interval_correct"]);
  if (const auto figures = field.find("interval_figures")) {  // not in older checkpoints
    const auto items = figures->items();
    if (items.size() != model::kMostFigures) figures->fail(str(model::kMostFigures, " numbers"));
    for (size_t i = 0; i < items.size(); ++i) state.interval.figures[i] = double_of(items[i]);
  }
  state.best_loss = double_of(field["best_loss"]);
  state.best_step = count_of(field["best_step"]);
  state.evaluations_without_gain = count_of(field["evaluations_without_gain"]);
  return state;
}

std::vector<std::string> differences(const io::Value& before, const io::Value& now) {
  std::vector<std::string> found;
  const auto text = [](const io::Value* value) {
    return value == nullptr ? std::string("nothing") : io::to_json(*value);
  };
  const auto compare = [&](const std::string& key) {
    const io::Value *old_value = before.find(key), *new_value = now.find(key);
    if (old_value != nullptr && old_value->map() != nullptr && new_value != nullptr &&
        new_value->map() != nullptr) {
      for (const std::string& line : differences(*old_value, *new_value)) {
        found.push_back(str(key, ".", line));
      }
      return;
    }
    const std::string old_text = text(old_value), new_text = text(new_value);
    if (old_text != new_text) {
      found.push_back(str(key, ": ", old_text, " before, ", new_text, " now"));
    }
  };
  if (now.map() != nullptr) {
    for (const auto& member : *now.map()) compare(member.key);
  }
  if (before.map() != nullptr) {
    for (const auto& member : *before.map()) {
      if (now.find(member.key) == nullptr) compare(member.key);
    }
  }
  return found;
}

}  // namespace heddle::train
