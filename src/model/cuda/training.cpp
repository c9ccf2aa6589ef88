#include "heddle/model/cuda/training.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/cuda/adapter_parameters.h"
#include "heddle/model/cuda/answer_loss.h"
#include "heddle/model/cuda/batch.h"
#include "heddle/model/cuda/forward.h"
#include "heddle/model/cuda/model_files.h"
#include "heddle/model/cuda/output_loss.h"
#include "heddle/model/cuda/parameters.h"
#include "heddle/model/cuda/pass.h"
#include "heddle/model/device_memory.h"
#include "heddle/model/weights.h"

namespace heddle::model::cuda {

namespace {

using ops::cuda::LossTotals;
using ops::cuda::Rows;

/// Waits for a stream's work when it goes, whatever became of it.
class Wait {
 public:
  explicit Wait(heddle::cuda::StreamHandle stream) : stream_(stream) {}
  ~Wait() { heddle::cuda::wait_quietly(stream_); }
  Wait(const Wait&) = delete;
  Wait& operator=(const Wait&) = delete;

 private:
  heddle::cuda::StreamHandle stream_;
};

/// No kernel looks whether a number is in its table. −1 stands for none.
void check_ids(const char* what, std::span<const int32_t> ids, int64_t end) {
  for (const int32_t id : ids) {
    HEDDLE_CHECK(id >= -1 && id < end, "training: ", what, " ", id, " of ", end);
  }
}

bool has_labels(const TrainingBatch& batch) {
  if (!batch.pair.groups.empty()) return true;  // an answer's first token is always learned
  return std::ranges::any_of(batch.labels, [](int32_t label) { return label >= 0; });
}

/// Rows of hidden states that the loss reads, at most.
int64_t rows_of_loss(const TrainingBatch& batch) {
  int64_t rows = std::ranges::count_if(batch.labels, [](int32_t label) { return label >= 0; });
  for (const AnswerGroup& group : batch.pair.groups) rows += std::ssize(group.answers);
  return rows;
}

/// With the adapter attached, whose numbers are all that is packed on the host.
Weights weights_of(const ModelFiles& files, const std::optional<Adapter>& adapter) {
  Weights weights(files, ops::Precision::f32, Weights::Matrices::shapes);
  if (!adapter || adapter->settings.targets.empty()) return weights;
  std::vector<Tensor> values(parameters_of(files.config).size());
  for (const ParameterShape& each : lora_parameters(files.config, adapter->settings)) {
    values.push_back(adapter->parameters.require(each.name, each.shape).values);
  }
  attach(weights, adapter->settings, values);
  return weights;
}

}  // namespace

struct TrainingTransformer::State {
  State(ModelFiles given, std::optional<Adapter> trained_alone, int device)
      : files(std::move(given)),
        adapter(std::move(trained_alone)),
        weights(weights_of(files, adapter)),
        machine(device) {
    if (adapter) adapter_parameters.emplace(weights, *adapter, machine.context());
    parameters.emplace(weights, files, machine.context(),
                       adapter ? DeviceParameters::Use::frozen : DeviceParameters::Use::training,
                       adapter ? &adapter_parameters->trained() : nullptr);
    tables.emplace(weights, *parameters, machine.context());
    if (adapter) {
      adapter_parameters->join(weights, *parameters);
      adapter_parameters->refresh_gains(machine);
    }
    files.parameters = {};  // they are on the GPU now
  }

  TrainedParameters& trained() {
    return adapter ? adapter_parameters->trained() : *parameters->trained();
  }

  /// The values of what is trained, on the host.
  Parameters downloaded() {
    std::vector<Tensor> values;
    Parameters made;
    for (const ParameterShape& each : trained().shapes()) {
      values.push_back(Tensor::empty(each.shape, DType::f32));
      made.add(each.name, {values.back()});
    }
    trained().download(trained().values(), values);
    return made;
  }

  LossSums run(const TrainingBatch& batch, LaidOutBatch* laid_out, const LossSettings& settings,
               bool trains);

  /// Long rows are large pieces, of which few fit a block: one for all of them wastes nothing.
  void reserve(const TrainingBatch& batch, const LossSettings& settings, bool trains);

  /// The loss of the decoder's output, and its gradient unless d_hidden has none.
  void look_at(const DeviceBatch& batch, const Taught& taught, const Rows& hidden,
               ops::cuda::RowsView d_hidden, LossTotals* sums);

  ModelFiles files;
  std::optional<Adapter> adapter;  // its settings; the values are on the GPU
  Weights weights;
  autograd::cuda::Machine machine;
  std::optional<AdapterParameters> adapter_parameters;
  std::optional<DeviceParameters> parameters;
  std::optional<PositionTables> tables;
  std::shared_ptr<StagingPool> pool = std::make_shared<StagingPool>();
  Exchange exchange{machine};
  Tensor totals = Tensor::empty({static_cast<int64_t>(sizeof(LossTotals))}, DType::i8,
                                heddle::cuda::pinned_allocator());
};

void TrainingTransformer::State::reserve(const TrainingBatch& batch, const LossSettings& settings,
                                         bool trains) {
  const DeviceActivations plan =
      device_activations(files.config, {.tokens = std::ssize(batch.labels),
                                        .labels = rows_of_loss(batch),
                                        .lora = adapter ? &adapter->settings : nullptr,
                                        .recompute = settings.recompute,
                                        .trains = trains});
  machine.values.reserve(static_cast<size_t>(plan.values));
  machine.gradients.reserve(static_cast<size_t>(plan.gradients));
  machine.scratch.reserve(static_cast<size_t>(plan.scratch));
}

void TrainingTransformer::State::look_at(const DeviceBatch& batch, const Taught& taught,
                                         const Rows& hidden, ops::cuda::RowsView d_hidden,
                                         LossTotals* sums) {
  OutputLoss loss(weights, *parameters, machine);
  if (!files.config.is_language_model()) return loss.project(taught, hidden, d_hidden, sums);
  // Most rows of a conversation have no label and need no logits. Rows are looked up, there and
  // back, as if they were words.
  const ops::Workspace::Scope scope(machine.scratch);
  const int64_t width = hidden.width();
  const auto look_up = [&](const int32_t* places, const BFloat16* from, ops::cuda::RowsView to,
                           int64_t rows) {
    HEDDLE_CUDA_CHECK(ops::cuda::launch_embed({.extent = {rows, width},
                                               .tokens = places,
                                               .table = from,
                                               .scale = 1,
                                               .positions = nullptr,
                                               .of_row = nullptr,
                                               .dropout = {},
                                               .y = to},
                                              machine.stream()));
  };
  const int64_t count = batch.label_count();
  const auto take = [&] {  // [L, D]
    return Rows(machine.scratch.take<BFloat16>(count * width), count, width, nullptr);
  };
  const Rows labelled = take();
  look_up(batch.label_places(), hidden.row(0), labelled.view(), count);
  if (d_hidden.data == nullptr) return loss.project(taught, labelled, d_hidden, sums);
  const Rows d_labelled = take();
  loss.project(taught, labelled, d_labelled.view(), sums);
  look_up(batch.places_of_rows(), d_labelled.row(0), d_hidden, hidden.count());
}

std::shared_ptr<LaidOutBatch> TrainingTransformer::lay_out(const TrainingBatch& batch) const {
  check_batch(batch, {}, config());
  if (!has_labels(batch)) return {};
  const bool only_texts = config().is_language_model();
  HEDDLE_CHECK(only_texts || !batch.pair.sources.empty(),
               "training: sentences without a single source token; expected some");
  check_ids("source token", batch.pair.sources, config().source_vocabulary);
  check_ids("target token", batch.pair.targets, config().target_vocabulary);
  check_ids("label", batch.labels, config().target_vocabulary);
  check_ids("teacher's choice", batch.teacher.ids, config().target_vocabulary);
  const BatchNeeds needs{.learned_positions = state_->weights.encoder_ends.positions_number >= 0,
                         .only_texts = only_texts,
                         .window = config().window,
                         .scores = config().scores};
  auto* made = new LaidOutBatch(batch, needs, state_->pool->take());
  return {made, [pool = state_->pool](LaidOutBatch* done) {
            pool->give(done->release());
            delete done;
          }};
}

LossSums TrainingTransformer::State::run(const TrainingBatch& batch, LaidOutBatch* laid_out,
                                         const LossSettings& settings, bool trains) {
  check_batch(batch, settings, files.config);
  if (!has_labels(batch)) return {};
  if (files.config.is_language_model()) reserve(batch, settings, trains);
  const ops::Workspace::Scope values(machine.values), host(machine.host);
  const Wait wait(machine.stream());  // the batch's memory goes round when this returns
  auto* sums = machine.values.take<LossTotals>(1);
  const Tensor on_gpu =
      Tensor::wrap(sums, totals.shape(), {1}, DType::i8, machine.context().device());
  heddle::cuda::zero(on_gpu, machine.stream());
  DeviceBatch placed(*laid_out, machine);
  if (!settings.skip_tiles) placed.skip_nothing();
  tables->extend(std::max(placed.source().longest, placed.target().longest));

  std::optional<autograd::cuda::Tape> tape;
  if (trains) tape.emplace(machine);
  const PassSettings of_pass{
      .dropout = {.probability = settings.dropout, .seed = settings.seed, .step = settings.step},
      .activation_dropout = settings.activation_dropout,
      .recompute = settings.recompute,
      .trains = true};
  Pass pass({weights, *parameters, *tables, &placed, machine,
             adapter_parameters && !settings.base_alone ? &*adapter_parameters : nullptr},
            of_pass, tape ? &*tape : nullptr);
  DeviceForward forward(placed, files.config);
  const Rows hidden = forward.run(pass, settings.first_row);

  const Taught taught{.labels = placed.labels(),
                      .weights = placed.weights(),
                      .teacher_ids = placed.teacher_ids(),
                      .teacher_log_probabilities = placed.teacher_log_probabilities(),
                      .teachers = static_cast<int32_t>(batch.teacher.count),
                      .settings = settings};
  LossSums of_answers;
  const auto look = [&](ops::cuda::RowsView d_hidden) {
    if (batch.answers == nullptr) return look_at(placed, taught, hidden, d_hidden, sums);
    DeviceAnswerLoss loss(weights, *parameters, machine, exchange);
    of_answers = loss.run({batch, placed, settings.gradient_scale}, hidden, d_hidden);
  };
  if (tape) {
    tape->contribute(hidden, look);
    tape->run_back_to(0);
  } else {
    look({nullptr, 0});
  }
  heddle::cuda::copy(on_gpu, totals, machine.stream());
  machine.context().synchronize();
  if (batch.answers != nullptr) return of_answers;
  const auto& found = *static_cast<const LossTotals*>(totals.raw());
  return {found.loss, found.nll, found.weight, found.tokens, found.correct};
}

namespace {

void check_trains(const TransformerConfig& config, int device) {
  HEDDLE_CHECK(device == 0, "training on a GPU: found GPU ", device,
               "; expected 0. Hint: CUDA_VISIBLE_DEVICES says which that is");
  check_fits(config, "training", "device: cpu");
}

}  // namespace

TrainingTransformer::TrainingTransformer(ModelFiles files, int device) {
  check_trains(files.config, device);
  state_ = std::make_unique<State>(std::move(files), std::nullopt, device);
}
TrainingTransformer::TrainingTransformer(ModelFiles files, Adapter adapter, int device) {
  check_trains(files.config, device);
  check_adapter(files.config, adapter);
  check_on_gpu(adapter.settings);
  state_ = std::make_unique<State>(std::move(files), std::move(adapter), device);
  state_->adapter->parameters = {};  // they are on the GPU now
}
TrainingTransformer::~TrainingTransformer() = default;
TrainingTransformer::TrainingTransformer(TrainingTransformer&&) noexcept = default;
TrainingTransformer& TrainingTransformer::operator=(TrainingTransformer&&) noexcept = default;

const TransformerConfig& TrainingTransformer::config() const { return state_->files.config; }
TrainedParameters& TrainingTransformer::parameters() { return state_->trained(); }
heddle::cuda::Context& TrainingTransformer::context() { return state_->machine.context(); }
const std::vector<ParameterShape>& TrainingTransformer::shapes() const {
  return state_->trained().shapes();
}

ModelFiles TrainingTransformer::files() const {
  HEDDLE_CHECK(!state_->adapter, "training: found an adapter; expected a model that is trained");
  ModelFiles files = state_->files;
  files.parameters = state_->downloaded();
  return files;
}

Adapter TrainingTransformer::adapter() const {
  HEDDLE_CHECK(state_->adapter.has_value(), "training: found no adapter; expected one");
  Adapter adapter = *state_->adapter;
  adapter.parameters = state_->downloaded();
  return adapter;
}

void TrainingTransformer::round_to_int8() { state_->parameters->round_copies(); }

void TrainingTransformer::load(std::span<const Tensor> values) {
  TrainedParameters& trained = state_->trained();
  trained.upload(values, trained.values());
  trained.refresh_copies();
  copies_written();
}

void TrainingTransformer::copies_written() {
  state_->parameters->refresh_others();
  if (state_->adapter_parameters) state_->adapter_parameters->refresh_gains(state_->machine);
}

int64_t TrainingTransformer::parameter_bytes() const {
  const int64_t apart = state_->adapter_parameters ? state_->trained().bytes() : 0;
  return state_->parameters->bytes() + apart;
}

int64_t TrainingTransformer::workspace_bytes() const {
  const autograd::cuda::Machine& machine = state_->machine;
  return static_cast<int64_t>(machine.values.bytes() + machine.gradients.bytes() +
                              machine.scratch.bytes());
}

LossSums TrainingTransformer::forward_backward(const TrainingBatch& batch,
                                               const LossSettings& settings,
                                               LaidOutBatch* laid_out) {
  if (laid_out != nullptr) return state_->run(batch, laid_out, settings, true);
  return state_->run(batch, lay_out(batch).get(), settings, true);
}

LossSums TrainingTransformer::loss(const TrainingBatch& batch, const LossSettings& settings,
                                   LaidOutBatch* laid_out) {
  LossSettings plain = settings;
  plain.dropout = plain.activation_dropout = 0;
  if (laid_out != nullptr) return state_->run(batch, laid_out, plain, false);
  return state_->run(batch, lay_out(batch).get(), plain, false);
}

}  // namespace heddle::model::cuda
