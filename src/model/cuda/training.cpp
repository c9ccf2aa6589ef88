#include "heddle/model/cuda/training.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/model/cuda/batch.h"
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

void check(const TransformerConfig& config) {
  const auto multiple = [](const char* what, int64_t found) {
    HEDDLE_CHECK(found % 8 == 0, "training on a GPU: ", what, " is ", found,
                 "; expected a multiple of 8. Hint: device: cpu");
  };
  multiple("the width", config.width);
  for (const auto& [stack, head] : {std::pair{&config.encoder, config.encoder_head_width()},
                                    std::pair{&config.decoder, config.decoder_head_width()}}) {
    multiple("the width of the feed-forward layers", stack->ffn_width);
    multiple("the width of a head", head);
    HEDDLE_CHECK(head <= attention::kMaxHeadDim, "training on a GPU: the width of a head is ", head,
                 "; expected at most ", attention::kMaxHeadDim, ". Hint: device: cpu");
  }
}

std::vector<Tensor> f32_values(const ModelFiles& files) {
  check_parameters(files.config, files.parameters);
  std::vector<Tensor> values;
  for (const ParameterShape& each : parameters_of(files.config)) {
    values.push_back(to_f32(files.parameters.require(each.name, each.shape)));
  }
  return values;
}

bool has_labels(const TrainingBatch& batch) {
  return std::ranges::any_of(batch.labels, [](int32_t label) { return label >= 0; });
}

/// Page-locked memory that goes round: it is slow to come by.
class StagingPool {
 public:
  std::unique_ptr<Staging> take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<Staging>();
    std::unique_ptr<Staging> taken = std::move(free_.back());
    free_.pop_back();
    return taken;
  }
  void give(std::unique_ptr<Staging> staging) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(staging));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Staging>> free_;
};

/// The files without the numbers, which live on the GPU.
ModelFiles single_precision(ModelFiles files) {
  const std::vector<Tensor> values = f32_values(files);
  Parameters own;
  size_t i = 0;
  for (const ParameterShape& each : parameters_of(files.config)) own.add(each.name, {values[i++]});
  files.parameters = std::move(own);
  return files;
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
                             heddle::cuda::pinned_allocator())) {}

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
  const int64_t vocabulary = weights.output.rows(), width = hidden.width(),
                padded = DeviceParameters::padded(vocabulary);
  const int64_t most = std::min(std::max<int64_t>(kLogits / padded, 1), hidden.count());
  const bool trains = d_hidden.data != nullptr;
  const BFloat16* table = parameters.copy(weights.output_number);
  auto* logits = machine.scratch.take<BFloat16>(most * padded);
  auto* losses = machine.scratch.take<RowLoss>(hidden.count());
  float* d_bias = parameters.gradient(weights.output_bias_number);
  const LossSettings& settings = target.settings;
  for (int64_t first = 0; first < hidden.count(); first += most) {
    const Rows rows = hidden.range(first, std::min(first + most, hidden.count()));
    const int64_t count = rows.count();
    machine.gemm().multiply({.m = count,
                             .n = padded,
                             .k = width,
                             .a = {rows.row(0), rows.stride()},
                             .b = {table, width, true},
                             .c = logits,
                             .c_stride = padded,
                             .bias = parameters.copy(weights.output_bias_number)});
    const int64_t choices = first * target.teachers;
    HEDDLE_CUDA_CHECK(ops::cuda::launch_cross_entropy(
        {.rows = count,
         .vocabulary = vocabulary,
         .logits = {logits, padded},
         .labels = target.batch.labels() + first,
         .weights = target.batch.weights() != nullptr ? target.batch.weights() + first : nullptr,
         .label_smoothing = static_cast<float>(settings.label_smoothing),
         .z_loss = static_cast<float>(settings.z_loss),
         .gradient_scale = static_cast<float>(settings.gradient_scale),
         .teacher_weight = target.teachers > 0 ? static_cast<float>(settings.teacher_weight) : 0.0f,
         .teacher_ids = target.batch.teacher_ids() + choices,
         .teacher_log_probabilities = target.batch.teacher_log_probabilities() + choices,
         .teacher_count = target.teachers,
         .wants_gradient = trains,
         .losses = losses + first},
        machine.stream()));
    if (!trains) continue;
    machine.gemm().multiply({.m = count,
                             .n = width,
                             .k = padded,
                             .a = {logits, padded},
                             .b = {table, width},
                             .c = d_hidden.data + first * d_hidden.stride,
                             .c_stride = d_hidden.stride});
    machine.gemm().multiply({.m = padded,
                             .n = width,
                             .k = count,
                             .a = {logits, padded, true},
                             .b = {rows.row(0), rows.stride()},
                             .c = parameters.gradient(weights.output_number),
                             .c_stride = width,
                             .single = true,
                             .beta = 1});
    if (d_bias == nullptr) continue;
    const ops::Workspace::Scope sums_scope(machine.scratch);
    const ops::cuda::Extent extent{count, padded};
    HEDDLE_CUDA_CHECK(ops::cuda::launch_column_sums(
        {.extent = extent,
         .x = {logits, padded},
         .factor = 1,
         .sums = d_bias,
         .scratch = machine.scratch.take<float>(ops::cuda::column_sums_scratch(extent))},
        machine.stream()));
  }
  HEDDLE_CUDA_CHECK(ops::cuda::launch_sum_losses(losses, hidden.count(), sums, machine.stream()));
}

std::shared_ptr<LaidOutBatch> TrainingTransformer::lay_out(const TrainingBatch& batch) const {
  check_batch(batch, {}, config());
  if (!has_labels(batch)) return {};
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
  HEDDLE_CHECK(!batch.pair.sources.empty(),
               "training: sentences without a single source token; expected some");
  const ops::Workspace::Scope values(machine.values), host(machine.host);
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
  Pass pass({weights, parameters, tables, placed, machine}, of_pass, tape ? &*tape : nullptr);
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
  check(files.config);
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

size_t TrainingTransformer::bytes() const {
  return state_->machine.bytes() + static_cast<size_t>(state_->parameters.count()) * 10;
}

}  // namespace heddle::model::cuda
