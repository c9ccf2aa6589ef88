#include "heddle/model/cuda/training.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/cuda/batch.h"
#include "heddle/model/cuda/model_files.h"
#include "heddle/model/cuda/parameters.h"
#include "heddle/model/cuda/pass.h"
#include "heddle/model/layers.h"
#include "heddle/model/packed_forward.h"
#include "heddle/model/weights.h"

namespace heddle::model::cuda {

namespace {

using ops::cuda::LossTotals;
using ops::cuda::RowLoss;
using ops::cuda::Rows;

/// Rows whose logits are made at a time: enough that the sums of the table's gradient are not
/// fetched too often, few enough for some hundred MB.
constexpr int64_t kLogits = int64_t{128} << 20;

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
  return std::ranges::any_of(batch.labels, [](int32_t label) { return label >= 0; });
}

}  // namespace

struct TrainingTransformer::State {
  State(ModelFiles given, int device)
      : files(single_precision(std::move(given))),
        weights(files, ops::Precision::f32),
        shapes(parameters_of(files.config)),
        machine(device),
        parameters(weights, f32_values(files), machine.context()),
        tables(weights, parameters, machine.context()),
        totals(Tensor::empty({static_cast<int64_t>(sizeof(LossTotals))}, DType::i8,
                             heddle::cuda::pinned_allocator())) {
    files.parameters = {};  // they are on the GPU now
  }

  LossSums run(const TrainingBatch& batch, LaidOutBatch* laid_out, const LossSettings& settings,
               bool trains);

  struct Target {
    const DeviceBatch& batch;
    const LossSettings& settings;
    int32_t teachers;
  };
  /// The loss of the decoder's output, and its gradient unless d_hidden has none.
  void project(const Target& target, const Rows& hidden, ops::cuda::RowsView d_hidden,
               LossTotals* sums);
  /// Losses of `count` rows from `first` on; their logits become gradients.
  void look_at(const Target& target, int64_t first, int64_t count, bool trains, BFloat16* logits,
               RowLoss* losses);
  void project_back(const Rows& rows, const BFloat16* d_logits, ops::cuda::RowsView d_rows);
  int64_t padded_vocabulary() const { return DeviceParameters::padded(weights.output.rows()); }

  ModelFiles files;
  Weights weights;
  std::vector<ParameterShape> shapes;
  autograd::cuda::Machine machine;
  DeviceParameters parameters;
  PositionTables tables;
  std::shared_ptr<StagingPool> pool = std::make_shared<StagingPool>();
  Tensor totals;
};

void TrainingTransformer::State::project(const Target& target, const Rows& hidden,
                                         ops::cuda::RowsView d_hidden, LossTotals* sums) {
  const ops::Workspace::Scope scope(machine.scratch);
  const int64_t most =
      std::min(std::max<int64_t>(kLogits / padded_vocabulary(), 1), hidden.count());
  auto* logits = machine.scratch.take<BFloat16>(most * padded_vocabulary());
  auto* losses = machine.scratch.take<RowLoss>(hidden.count());
  for (int64_t first = 0; first < hidden.count(); first += most) {
    const Rows rows = hidden.range(first, std::min(first + most, hidden.count()));
    machine.gemm().multiply({.m = rows.count(),
                             .n = padded_vocabulary(),
                             .k = rows.width(),
                             .a = {rows.row(0), rows.stride()},
                             .b = {parameters.copy(weights.output_number), rows.width(), true},
                             .c = logits,
                             .c_stride = padded_vocabulary(),
                             .bias = parameters.copy(weights.output_bias_number)});
    look_at(target, first, rows.count(), d_hidden.data != nullptr, logits, losses);
    if (d_hidden.data == nullptr) continue;
    project_back(rows, logits, {d_hidden.data + first * d_hidden.stride, d_hidden.stride});
  }
  HEDDLE_CUDA_CHECK(ops::cuda::launch_sum_losses(losses, hidden.count(), sums, machine.stream()));
}

void TrainingTransformer::State::look_at(const Target& target, int64_t first, int64_t count,
                                         bool trains, BFloat16* logits, RowLoss* losses) {
  const DeviceBatch& batch = target.batch;
  const LossSettings& settings = target.settings;
  const int64_t choices = first * target.teachers;
  HEDDLE_CUDA_CHECK(ops::cuda::launch_cross_entropy(
      {.rows = count,
       .vocabulary = weights.output.rows(),
       .logits = {logits, padded_vocabulary()},
       .labels = batch.labels() + first,
       .weights = batch.weights() != nullptr ? batch.weights() + first : nullptr,
       .label_smoothing = static_cast<float>(settings.label_smoothing),
       .z_loss = static_cast<float>(settings.z_loss),
       .gradient_scale = static_cast<float>(settings.gradient_scale),
       .teacher_weight = target.teachers > 0 ? static_cast<float>(settings.teacher_weight) : 0.0f,
       .teacher_ids = batch.teacher_ids() + choices,
       .teacher_log_probabilities = batch.teacher_log_probabilities() + choices,
       .teacher_count = target.teachers,
       .wants_gradient = trains,
       .losses = losses + first},
      machine.stream()));
}

void TrainingTransformer::State::project_back(const Rows& rows, const BFloat16* d_logits,
                                              ops::cuda::RowsView d_rows) {
  const int64_t padded = padded_vocabulary(), width = rows.width();
  machine.gemm().multiply({.m = rows.count(),
                           .n = width,
                           .k = padded,
                           .a = {d_logits, padded},
                           .b = {parameters.copy(weights.output_number), width},
                           .c = d_rows.data,
                           .c_stride = d_rows.stride});
  machine.gemm().multiply({.m = padded,
                           .n = width,
                           .k = rows.count(),
                           .a = {d_logits, padded, true},
                           .b = {rows.row(0), rows.stride()},
                           .c = parameters.gradient(weights.output_number),
                           .c_stride = width,
                           .single = true,
                           .beta = 1});
  float* d_bias = parameters.gradient(weights.output_bias_number);
  if (d_bias == nullptr) return;
  const ops::Workspace::Scope scope(machine.scratch);
  const ops::cuda::Extent extent{rows.count(), padded};
  HEDDLE_CUDA_CHECK(ops::cuda::launch_column_sums(
      {.extent = extent,
       .x = {const_cast<BFloat16*>(d_logits), padded},
       .factor = 1,
       .sums = d_bias,
       .scratch = machine.scratch.take<float>(ops::cuda::column_sums_scratch(extent))},
      machine.stream()));
}

std::shared_ptr<LaidOutBatch> TrainingTransformer::lay_out(const TrainingBatch& batch) const {
  check_batch(batch, {}, config());
  if (!has_labels(batch)) return {};
  HEDDLE_CHECK(!batch.pair.sources.empty(),
               "training: sentences without a single source token; expected some");
  check_ids("source token", batch.pair.sources, config().source_vocabulary);
  check_ids("target token", batch.pair.targets, config().target_vocabulary);
  check_ids("label", batch.labels, config().target_vocabulary);
  check_ids("teacher's choice", batch.teacher.ids, config().target_vocabulary);
  const bool learned = state_->weights.encoder_ends.positions_number >= 0;
  auto* made = new LaidOutBatch(batch, learned, state_->pool->take());
  return {made, [pool = state_->pool](LaidOutBatch* done) {
            pool->give(done->release());
            delete done;
          }};
}

LossSums TrainingTransformer::State::run(const TrainingBatch& batch, LaidOutBatch* laid_out,
                                         const LossSettings& settings, bool trains) {
  check_batch(batch, settings, files.config);
  if (!has_labels(batch)) return {};
  const ops::Workspace::Scope values(machine.values), host(machine.host);
  const Wait wait(machine.stream());  // the batch's memory goes round when this returns
  auto* sums = machine.values.take<LossTotals>(1);
  const Tensor on_gpu =
      Tensor::wrap(sums, totals.shape(), {1}, DType::i8, machine.context().device());
  heddle::cuda::zero(on_gpu, machine.stream());
  DeviceBatch placed(*laid_out, machine);
  if (!settings.skip_tiles) placed.skip_nothing();
  tables.extend(std::max(placed.source().longest, placed.target().longest));

  std::optional<autograd::cuda::Tape> tape;
  if (trains) tape.emplace(machine);
  const PassSettings of_pass{
      .dropout = {.probability = settings.dropout, .seed = settings.seed, .step = settings.step},
      .activation_dropout = settings.activation_dropout,
      .recompute = settings.recompute};
  Pass pass({weights, parameters, tables, &placed, machine}, of_pass, tape ? &*tape : nullptr);
  const auto rows_of = [](const BatchSide& side, DeviceBatch::Masked& masked) {
    return PackedRows{.tokens = side.tokens,
                      .positions = side.positions,
                      .visible = {.mask = masked.mask, .device_mask = &masked.on_device}};
  };
  const PackedRows sources = rows_of(placed.source(), placed.documents());
  const DecoderRows targets{
      .rows = rows_of(placed.target(), placed.causal()),
      .offsets = placed.target().offsets,
      .cross = {.mask = placed.cross().mask, .device_mask = &placed.cross().on_device}};
  const int64_t width = files.config.width;
  Rows encoded = pass.rows(std::ssize(batch.pair.sources), width);
  Rows hidden = pass.rows(std::ssize(batch.pair.targets), width);
  PackedMemory<Pass> memory(encoded);
  pass.set_first_row(settings.first_row);
  run_encoder(pass, sources, encoded);
  pass.set_first_row(settings.first_row);
  run_decoder(pass, targets, memory, hidden);

  const Target target{placed, settings, static_cast<int32_t>(batch.teacher.count)};
  if (tape) {
    tape->contribute(
        hidden, [&](ops::cuda::RowsView d_hidden) { project(target, hidden, d_hidden, sums); });
    tape->run_back_to(0);
  } else {
    project(target, hidden, {nullptr, 0}, sums);
  }
  heddle::cuda::copy(on_gpu, totals, machine.stream());
  machine.context().synchronize();
  const auto& found = *static_cast<const LossTotals*>(totals.raw());
  return {found.loss, found.nll, found.weight, found.tokens, found.correct};
}

TrainingTransformer::TrainingTransformer(ModelFiles files, int device) {
  HEDDLE_CHECK(device == 0, "training on a GPU: found GPU ", device,
               "; expected 0. Hint: CUDA_VISIBLE_DEVICES says which that is");
  check_fits(files.config, "training", "device: cpu");
  state_ = std::make_unique<State>(std::move(files), device);
}
TrainingTransformer::~TrainingTransformer() = default;
TrainingTransformer::TrainingTransformer(TrainingTransformer&&) noexcept = default;
TrainingTransformer& TrainingTransformer::operator=(TrainingTransformer&&) noexcept = default;

const TransformerConfig& TrainingTransformer::config() const { return state_->files.config; }
DeviceParameters& TrainingTransformer::parameters() { return state_->parameters; }
heddle::cuda::Context& TrainingTransformer::context() { return state_->machine.context(); }
const std::vector<ParameterShape>& TrainingTransformer::shapes() const { return state_->shapes; }

ModelFiles TrainingTransformer::files() const {
  std::vector<Tensor> values;
  ModelFiles files = state_->files;
  files.parameters = {};
  for (const ParameterShape& each : state_->shapes) {
    values.push_back(Tensor::empty(each.shape, DType::f32));
    files.parameters.add(each.name, {values.back()});
  }
  state_->parameters.download(state_->parameters.values(), values);
  return files;
}

void TrainingTransformer::round_to_int8() {
  for (size_t i = 0; i < state_->shapes.size(); ++i) {
    const ParameterShape& each = state_->shapes[i];
    if (!is_quantised(each.name, each.shape)) continue;
    state_->parameters.round_copy(static_cast<ParameterNumber>(i), each.shape);
  }
}

void TrainingTransformer::load(std::span<const Tensor> values) {
  state_->parameters.upload(values, state_->parameters.values());
  state_->parameters.refresh_copies();
}

LossSums TrainingTransformer::forward_backward(const TrainingBatch& batch,
                                               const LossSettings& settings,
                                               LaidOutBatch* laid_out) {
  if (laid_out != nullptr) return state_->run(batch, laid_out, settings, true);
  return state_->run(batch, lay_out(batch).get(), settings, true);
}

LossSums TrainingTransformer::loss(const TrainingBatch& batch, const LossSettings& settings) {
  LossSettings plain = settings;
  plain.dropout = plain.activation_dropout = 0;
  return state_->run(batch, lay_out(batch).get(), plain, false);
}

}  // namespace heddle::model::cuda
