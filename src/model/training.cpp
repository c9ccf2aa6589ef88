#include "heddle/model/training.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/model/answer_loss.h"
#include "heddle/model/label_rows.h"
#include "heddle/model/low_rank.h"
#include "heddle/model/masters.h"
#include "heddle/model/packed_forward.h"
#include "heddle/model/training_shards.h"
#include "heddle/model/weights.h"
#include "heddle/ops/cpu/kernels.h"
#include "heddle/ops/cross_entropy.h"
#include "heddle/ops/int8_rows.h"

namespace heddle::model {

namespace {

constexpr int64_t kOutputRows = 64;  // of a language model's logits at once

/// Runs body(index) on the pool, or here.
void for_each(ThreadPool* threads, int64_t count, const std::function<void(int64_t)>& body) {
  if (threads == nullptr) {
    for (int64_t i = 0; i < count; ++i) body(i);
  } else {
    threads->parallel_for(count, [&](int64_t index, int) { body(index); });
  }
}

ops::CrossEntropy cross_entropy_of(const TrainingBatch& batch, const LossSettings& settings) {
  return {.labels = batch.labels,
          .weights = batch.weights,
          .label_smoothing = settings.label_smoothing,
          .z_loss = settings.z_loss,
          .teacher_weight = batch.teacher.count > 0 ? settings.teacher_weight : 0,
          .teacher_ids = batch.teacher.ids,
          .teacher_log_probabilities = batch.teacher.log_probabilities,
          .teacher_count = batch.teacher.count,
          .gradient_scale = settings.gradient_scale};
}

LossSums sums_of(const ops::CrossEntropySums& sums) {
  return {.loss = sums.loss,
          .nll = sums.nll,
          .weight = sums.weight,
          .tokens = sums.tokens,
          .correct = sums.correct};
}

}  // namespace

/// One worker: its scratch memory and, but for the first, which has the slots', its gradients.
struct Worker {
  ops::Workspace values, gradients;
  std::vector<Tensor> own;
};

struct TrainingTransformer::State {
  State(ModelFiles given, std::optional<Adapter> trained)
      : files(masters(std::move(given), trained ? &*trained : nullptr)),
        weights(files, ops::Precision::f32),
        adapter(std::move(trained)) {
    for (const ParameterShape& each : parameters_of(files.config)) {
      const bool frozen = adapter && !adapter->parameters.has(each.name);
      add(each, files.parameters.require(each.name, each.shape).values, frozen);
    }
    trains_base = !slots.empty();
    if (!adapter) return;
    for (const ParameterShape& each : lora_parameters(files.config, adapter->settings)) {
      add(each, own_copy(adapter->parameters.require(each.name, each.shape)), false);
    }
    for (const Slot& slot : slots) *adapter->parameters.find(slot.name) = {.values = slot.value};
    attach(weights, adapter->settings, values);
  }

  void add(const ParameterShape& parameter, const Tensor& value, bool frozen) {
    values.push_back(value);
    if (frozen) return;
    slots.push_back({parameter.name, value, Tensor::zeros(parameter.shape, DType::f32)});
    places.push_back(values.size() - 1);
  }

  /// Makes sure that there are so many workers.
  void hire(int count) {
    while (std::ssize(workers) < count) workers.push_back(std::make_unique<Worker>());
  }

  const float* output_bias() const {
    return weights.output_bias.empty() ? nullptr : weights.output_bias.data();
  }

  LossSums loss(const Shard& shard, const LossSettings& settings, Worker& worker) const;
  LossSums output_loss(ops::Rows& hidden, const TrainingBatch& batch, const LossSettings& settings,
                       const ops::CrossEntropyGradients* out, ops::Workspace& workspace) const;
  LossSums loss_and_gradients(const Shard& shard, const LossSettings& settings, Worker& worker,
                              std::span<float* const> gradients) const;
  void add_to_slots(int count, ThreadPool* threads);
  void round();

  ModelFiles files;
  Weights weights;
  std::optional<Adapter> adapter;
  std::vector<Slot> slots;
  std::vector<size_t> places;  // of the slots among the values
  std::vector<Tensor> values;  // of all parameters
  bool trains_base = true;
  bool rounds = false;  // matrices of `values` are not the slots' but rounded ones
  std::vector<std::unique_ptr<Worker>> workers;
};

LossSums TrainingTransformer::State::loss(const Shard& shard, const LossSettings& settings,
                                          Worker& worker) const {
  const PackedPair& pair = shard.batch().pair;
  const ops::Workspace::Scope scope(worker.values);
  PackedForward forward(pair, files.config, worker.values, settings.skip_tiles);
  Pass pass(weights, worker.values);
  if (settings.base_alone) pass.leave_adapter_out();
  ops::Rows hidden = pass.rows(static_cast<int64_t>(pair.targets.size()), files.config.width);
  forward.run(pass, {}, hidden);
  return output_loss(hidden, shard.batch(), settings, nullptr, worker.values);
}

/// The loss of the hidden states [T, D]; `out` null: no gradients.
LossSums TrainingTransformer::State::output_loss(ops::Rows& hidden, const TrainingBatch& batch,
                                                 const LossSettings& settings,
                                                 const ops::CrossEntropyGradients* out,
                                                 ops::Workspace& workspace) const {
  const auto loss = [&](ops::Rows& x, const ops::CrossEntropy& of,
                        const ops::CrossEntropyGradients* gradients) {
    return sums_of(ops::cross_entropy(x, weights.output, output_bias(), of, gradients, workspace));
  };
  if (batch.answers != nullptr) {
    return answer_loss({.batch = batch,
                        .output = weights.output,
                        .scores = files.config.scores,
                        .gradient_scale = settings.gradient_scale},
                       hidden, out, workspace);
  }
  if (!files.config.is_language_model()) {
    return loss(hidden, cross_entropy_of(batch, settings), out);
  }
  const ops::Workspace::Scope scope(workspace);
  const LabelRows labelled(batch);
  ops::Rows rows = labelled.gathered(hidden, workspace);
  ops::CrossEntropy of = cross_entropy_of(labelled.batch(), settings);
  of.least_rows = kOutputRows;
  if (out == nullptr) return loss(rows, of, nullptr);
  ops::CrossEntropyGradients gradients = *out;
  gradients.d_x = {workspace.take<float>(rows.count() * rows.width()), rows.width()};
  const LossSums sums = loss(rows, of, &gradients);
  labelled.scatter(gradients.d_x, rows.width(), out->d_x);
  return sums;
}

LossSums TrainingTransformer::State::loss_and_gradients(const Shard& shard,
                                                        const LossSettings& settings,
                                                        Worker& worker,
                                                        std::span<float* const> gradients) const {
  const PackedPair& pair = shard.batch().pair;
  autograd::Tape tape(worker.values, worker.gradients);
  std::vector<const float*> numbers;
  for (const Tensor& value : values) numbers.push_back(value.data<float>());
  const Training training{
      .tape = &tape,
      .values = numbers,
      .gradients = gradients,
      .dropout = {.probability = settings.dropout, .seed = settings.seed, .step = settings.step},
      .activation_dropout = settings.activation_dropout,
      .recompute = settings.recompute};
  PackedForward forward(pair, files.config, worker.values, settings.skip_tiles);
  Pass pass(weights, worker.values, &training);
  ops::Rows hidden = pass.rows(static_cast<int64_t>(pair.targets.size()), files.config.width);
  forward.run(pass,
              {.source = settings.first_row + static_cast<uint64_t>(shard.first_source()),
               .target = settings.first_row + static_cast<uint64_t>(shard.first_target())},
              hidden);
  LossSums sums;
  tape.contribute(hidden, [&](ops::PlainRows d_hidden) {
    const ops::CrossEntropyGradients out{
        .weight = {.values = training.value(weights.output_number),
                   .rows = weights.output.rows(),
                   .d_values = training.gradient(weights.output_number),
                   .d_bias = training.gradient(weights.output_bias_number)},
        .d_x = d_hidden};
    sums = output_loss(hidden, shard.batch(), settings, &out, worker.values);
  });
  tape.run_back_to(0);
  return sums;
}

/// Matrices of `values` become what int8 would hold of the slots'.
void TrainingTransformer::State::round() {
  for (size_t i = 0; i < slots.size(); ++i) {
    const Tensor& master = slots[i].value;
    if (!is_quantised(slots[i].name, master.shape())) continue;
    Tensor& rounded = values[places[i]];
    if (rounded.raw() == master.raw()) rounded = Tensor::empty(master.shape(), DType::f32);
    ops::round_to_int8(master, rounded);
  }
}

/// Adds what workers 1 … count − 1 have to the slots, in order.
void TrainingTransformer::State::add_to_slots(int count, ThreadPool* threads) {
  const auto add = workers[0]->values.kernels().backward.add;
  for_each(threads, std::ssize(slots), [&](int64_t i) {
    const Tensor& sum = slots[static_cast<size_t>(i)].gradient;
    for (int w = 1; w < count; ++w) {
      const Tensor& part = workers[static_cast<size_t>(w)]->own[static_cast<size_t>(i)];
      add(part.data<float>(), sum.elements(), 1, sum.data<float>());
    }
  });
}

TrainingTransformer::TrainingTransformer(ModelFiles files)
    : state_(std::make_unique<State>(std::move(files), std::nullopt)) {}
TrainingTransformer::TrainingTransformer(ModelFiles files, Adapter adapter) {
  check_adapter(files.config, adapter);
  state_ = std::make_unique<State>(std::move(files), std::move(adapter));
}
TrainingTransformer::~TrainingTransformer() = default;
TrainingTransformer::TrainingTransformer(TrainingTransformer&&) noexcept = default;
TrainingTransformer& TrainingTransformer::operator=(TrainingTransformer&&) noexcept = default;

const TransformerConfig& TrainingTransformer::config() const { return state_->files.config; }
ModelFiles TrainingTransformer::files() const { return state_->files; }
std::span<TrainingTransformer::Slot> TrainingTransformer::slots() { return state_->slots; }
std::span<const TrainingTransformer::Slot> TrainingTransformer::slots() const {
  return state_->slots;
}

void TrainingTransformer::zero_gradients() {
  for (const Slot& slot : state_->slots) {
    std::fill_n(slot.gradient.data<float>(), slot.gradient.elements(), 0.0f);
  }
}

void TrainingTransformer::values_changed() {
  if (state_->rounds) state_->round();
  if (state_->trains_base) state_->weights.update(state_->values);
  if (state_->adapter) update_low_rank(state_->weights, state_->values);
}

void TrainingTransformer::round_to_int8() {
  HEDDLE_CHECK(!state_->adapter,
               "quantize_bits: found an adapter; expected a model that is "
               "trained as a whole");
  state_->rounds = true;
  values_changed();
}

Adapter TrainingTransformer::adapter() const {
  HEDDLE_CHECK(state_->adapter.has_value(), "training: found no adapter; expected one");
  return *state_->adapter;
}

int64_t TrainingTransformer::workspace_bytes() const {
  size_t bytes = 0;
  for (const auto& worker : state_->workers) {
    bytes += worker->values.bytes() + worker->gradients.bytes();
  }
  return static_cast<int64_t>(bytes);
}

void check_batch(const TrainingBatch& batch, const LossSettings& settings,
                 const TransformerConfig& config) {
  check_pairs(batch.pair, config);
  const size_t rows = batch.pair.targets.size();
  HEDDLE_CHECK(batch.labels.size() == rows, "training: ", batch.labels.size(), " labels for ", rows,
               " target tokens; expected as many");
  HEDDLE_CHECK(batch.weights.empty() || batch.weights.size() == rows,
               "training: ", batch.weights.size(), " weights for ", rows,
               " target tokens; expected as many");
  const size_t choices = rows * static_cast<size_t>(batch.teacher.count);
  HEDDLE_CHECK(
      batch.teacher.ids.size() == choices && batch.teacher.log_probabilities.size() == choices,
      "training: a teacher's ", batch.teacher.ids.size(), " ids and ",
      batch.teacher.log_probabilities.size(), " log-probabilities; expected ", choices,
      " of each, ", batch.teacher.count, " a target token");
  HEDDLE_CHECK((batch.answers != nullptr) == !batch.pair.groups.empty(), "training: found ",
               batch.pair.groups.size(), " groups of answers with ",
               batch.answers != nullptr ? "a" : "no",
               " loss of their own; expected both or neither");
  HEDDLE_CHECK(!config.scores || batch.answers != nullptr,
               "training: found texts for a reward model; expected questions with answers");
  HEDDLE_CHECK(settings.workers >= 0, "training: ", settings.workers, " workers");
}

namespace {

/// The shards of a batch that have a loss.
std::vector<Shard> shards_of(const TrainingBatch& batch, int workers) {
  std::vector<Shard> shards;
  for (const ShardRange& range : cut_shards(batch.pair, workers)) shards.emplace_back(batch, range);
  std::erase_if(shards, [](const Shard& shard) { return !shard.has_labels(); });
  for (const Shard& shard : shards) {
    HEDDLE_CHECK(shard.batch().pair.source_offsets.empty() || !shard.batch().pair.sources.empty(),
                 "training: sentences without a single source token; expected some");
  }
  return shards;
}

/// While it lives the threads share the products of the one worker that has something to do: a long
/// text of a language model. They change no bit.
class Sharing {
 public:
  Sharing(ThreadPool* threads, const TransformerConfig& config,
          std::span<const std::unique_ptr<Worker>> workers) {
    if (threads == nullptr || !config.is_language_model()) return;
    workspace_ = &workers.front()->values;
    workspace_->share_with(threads);
  }
  ~Sharing() {
    if (workspace_ != nullptr) workspace_->share_with(nullptr);
  }
  Sharing(const Sharing&) = delete;
  Sharing& operator=(const Sharing&) = delete;

  bool shares() const { return workspace_ != nullptr; }

 private:
  ops::Workspace* workspace_ = nullptr;
};

int workers_of(const LossSettings& settings, const ThreadPool* threads) {
  if (settings.workers > 0) return settings.workers;
  return threads != nullptr ? threads->threads() : 1;
}

}  // namespace

LossSums TrainingTransformer::forward_backward(const TrainingBatch& batch,
                                               const LossSettings& settings, ThreadPool* threads) {
  check_batch(batch, settings, config());
  const int count = workers_of(settings, threads);
  const std::vector<Shard> shards = shards_of(batch, count);
  const auto busy = static_cast<int>(std::min<int64_t>(count, std::ssize(shards)));
  state_->hire(busy);
  std::vector<LossSums> sums(shards.size());
  const Sharing sharing(busy == 1 ? threads : nullptr, config(), state_->workers);
  for_each(sharing.shares() ? nullptr : threads, busy, [&](int64_t w) {
    Worker& worker = *state_->workers[static_cast<size_t>(w)];
    std::vector<float*> gradients(state_->values.size(), nullptr);  // null: not trained
    for (size_t i = 0; i < state_->slots.size(); ++i) {
      const Slot& slot = state_->slots[i];
      float*& gradient = gradients[state_->places[i]];
      if (w == 0) {
        gradient = slot.gradient.data<float>();
        continue;
      }
      if (worker.own.size() == i) {
        worker.own.push_back(Tensor::empty(slot.gradient.shape(), DType::f32));
      }
      gradient = worker.own[i].data<float>();
      std::fill_n(gradient, slot.gradient.elements(), 0.0f);
    }
    for (size_t i = static_cast<size_t>(w); i < shards.size(); i += static_cast<size_t>(busy)) {
      sums[i] = state_->loss_and_gradients(shards[i], settings, worker, gradients);
    }
  });
  if (busy > 1) state_->add_to_slots(busy, threads);
  LossSums total;
  for (const LossSums& each : sums) total += each;
  return total;
}

LossSums TrainingTransformer::loss(const TrainingBatch& batch, const LossSettings& settings,
                                   ThreadPool* threads) const {
  check_batch(batch, settings, config());
  const int count = workers_of(settings, threads);
  const std::vector<Shard> shards = shards_of(batch, count);
  const auto busy = static_cast<int>(std::min<int64_t>(count, std::ssize(shards)));
  state_->hire(busy);
  std::vector<LossSums> sums(shards.size());
  const Sharing sharing(busy == 1 ? threads : nullptr, config(), state_->workers);
  for_each(sharing.shares() ? nullptr : threads, busy, [&](int64_t w) {
    Worker& worker = *state_->workers[static_cast<size_t>(w)];
    for (size_t i = static_cast<size_t>(w); i < shards.size(); i += static_cast<size_t>(busy)) {
      sums[i] = state_->loss(shards[i], settings, worker);
    }
  });
  LossSums total;
  for (const LossSums& each : sums) total += each;
  return total;
}

}  // namespace heddle::model
