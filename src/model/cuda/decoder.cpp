#include "heddle/model/cuda/decoder.h"

#include <algorithm>
#include <bit>

#include "heddle/base/error.h"
#include "heddle/mask/builders.h"
#include "heddle/model/packed_forward.h"
#include "heddle/model/step_rows.h"

namespace heddle::model::cuda {

namespace {

using ops::cuda::Rows;

constexpr int64_t kStepTables = 1 + StepRows::kTables;  // tokens, and those of StepRows
constexpr int64_t kFirstPositions = 512;

/// Sources and pasts of slots in pools on the GPU.
class DeviceSlots : public DecoderMemoryOf<Pass> {
 public:
  DeviceSlots(const StatePools& pools, std::span<const int32_t> at) : pools_(pools), at_(at) {}

  LayerPast past(int64_t layer) override {
    const auto i = static_cast<size_t>(layer);
    LayerPast past{.dtype = pools_.dtype, .at = at_};
    if (pools_.cells.defined()) {
      past.cells = pools_.cells.data<float>() + layer * pools_.cells.stride(0);
    } else {
      past.keys = pools_.self_keys[i].raw();
      past.values = pools_.self_values[i].raw();
      past.tokens = pools_.self_keys[i].dim(0);
    }
    return past;
  }

  KeysOf<Rows> source(Pass&, int64_t layer) override {
    const auto i = static_cast<size_t>(layer);
    const Tensor &keys = pools_.cross_keys[i], &values = pools_.cross_values[i];
    return {.keys = keys.raw(),
            .values = values.raw(),
            .tokens = keys.dim(0),
            .stride = keys.dim(1),
            .dtype = pools_.dtype};
  }

 private:
  const StatePools& pools_;
  std::span<const int32_t> at_;
};

/// Rows of a step in classes, of which there are eight an octave.
int64_t rounded_rows(int64_t rows) {
  constexpr int64_t kLeast = 16;
  const auto octave = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(rows)));
  const int64_t step = std::max(kLeast, octave / 8);
  return (rows + step - 1) / step * step;
}

/// One place more than slots ever use, for what is behind the last row.
Limits with_spare_place(Limits limits) {
  ++limits.rows;
  ++limits.target_tokens;
  return limits;
}

Limits limits_of(const DecoderSettings& settings, Half half) {
  return {.rows = settings.rows,
          .source_tokens = settings.source_tokens,
          .target_tokens = settings.target_tokens,
          .memory = stored_as(half)};
}

Tensor memory_on_gpu(const Shape& shape, DType dtype, int device) {
  return Tensor::empty(shape, dtype, heddle::cuda::block_allocator(device));
}

Tensor locked(int64_t count) {
  return Tensor::empty({count}, DType::i32, heddle::cuda::pinned_allocator());
}

}  // namespace

Decoder::Decoder(const InferenceTransformer& model, const DecoderSettings& settings,
                 std::span<const float> bias)
    : model_(model),
      settings_(settings),
      capacity_(rounded_rows(std::max(settings.rows, 1))),
      context_(model.device()),
      encoder_(model.device(), context_.stream(), model.half()),
      stepper_(model.device(), context_.stream(), model.half()),
      pools_(new DevicePools(model.config(), with_spare_place(limits_of(settings, model.half())),
                             context_)),
      state_(model.config(), limits_of(settings, model.half()),
             std::unique_ptr<PoolMemory>(pools_)),
      tables_(model.weights(), model.parameters(), context_),
      host_rows_(locked(kStepTables * capacity_)),
      rows_(memory_on_gpu({kStepTables * capacity_}, DType::i32, model.device())),
      hidden_(memory_on_gpu({capacity_, model.config().width}, stored_as(model.half()),
                            model.device())),
      host_best_(locked(capacity_)),
      chooser_(model, capacity_, bias, context_) {
  tables_.extend(kFirstPositions);
  positions_ = kFirstPositions;
  warm_up();
}

Decoder::~Decoder() { heddle::cuda::wait_quietly(context_.stream()); }

/// Finds the memory of the largest step, so that no step moves it, and loads the kernels.
void Decoder::warm_up() {
  StepRows rows(host_rows_.data<int32_t>() + capacity_, capacity_);
  std::fill_n(host_rows_.data<int32_t>(), capacity_, -1);
  for (int64_t r = 0; r < capacity_; ++r) rows.leave_empty(r, 0);
  for (int i = 0; i < 2; ++i) {  // the second time all memory is in one block
    queue_best(capacity_);
    context_.synchronize();
  }
}

/// Where the tokens of the sources go in the pools, and their positions; returns the longest.
int64_t Decoder::place_sources(std::span<const int32_t> offsets, std::span<const int> slots,
                               std::span<int32_t> at, std::span<int32_t> positions) const {
  int64_t longest = 0;
  for (size_t s = 0; s < slots.size(); ++s) {
    const int64_t length = offsets[s + 1] - offsets[s];
    check_length("source", length, model_.config());
    const TokenPool::Range range = state_.source_range(slots[s]);
    HEDDLE_CHECK(range.length == length, "model: slot ", slots[s], " was admitted with ",
                 range.length, " source tokens; found ", length);
    longest = std::max(longest, length);
    for (int64_t i = 0; i < length; ++i) {
      const auto t = static_cast<size_t>(offsets[s] + i);
      at[t] = static_cast<int32_t>(range.begin + i);
      positions[t] = static_cast<int32_t>(i);
    }
  }
  return longest;
}

void Decoder::encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
                     std::span<const int> slots) {
  const int64_t sentences = check_offsets("sources", offsets, tokens.size());
  HEDDLE_CHECK(static_cast<size_t>(sentences) == slots.size(), "model: ", sentences,
               " sources for ", slots.size(), " slots; expected as many");
  if (tokens.empty()) return;
  const TransformerConfig& config = model_.config();
  std::vector<int32_t> at(tokens.size()), positions(tokens.size());
  for (const int32_t token : tokens) {
    HEDDLE_CHECK(token >= -1 && token < config.source_vocabulary, "model: source token ", token,
                 "; expected less than ", config.source_vocabulary);
  }
  reserve_positions(place_sources(offsets, slots, at, positions));

  sources_copied_.wait();  // those of the last time have left the memory
  sources_.clear();
  const int64_t tokens_at = sources_.put(tokens), at_at = sources_.put<int32_t>(at);
  const int64_t positions_at = sources_.put<int32_t>(positions);
  const MaskOffsets mask = lay_out(masks::document(lengths_of(offsets)), sources_);
  const ops::Workspace::Scope scope(encoder_.values);
  const auto* base = encoder_.values.take<std::byte>(sources_.used());
  heddle::cuda::copy(sources_.memory().slice(0, 0, sources_.used()),
                     Tensor::wrap(const_cast<std::byte*>(base), {sources_.used()}, {1}, DType::i8,
                                  context_.device()),
                     context_.stream());
  sources_copied_.record(context_.stream());
  const auto table = [&](int64_t offset) {
    return std::span(reinterpret_cast<const int32_t*>(base + offset), tokens.size());
  };

  DeviceMask documents(columns_of(mask, base), encoder_.context(), mask.reach);
  Pass pass({model_.weights(), model_.parameters(), tables_, nullptr, encoder_}, {}, nullptr);
  Rows encoded = pass.rows(std::ssize(tokens), config.width);
  run_encoder(pass,
              {.tokens = table(tokens_at),
               .positions = table(positions_at),
               .visible = {.mask = &mask.mask, .device_mask = &documents}},
              encoded);
  for (size_t i = 0; i < model_.weights().decoder.size(); ++i) {
    const DecoderLayer& layer = model_.weights().decoder[i];
    const ops::Workspace::Scope layer_scope(encoder_.values);
    Rows both = pass.rows(encoded.count(), layer.cross.keys_values.width);  // keys | values
    project_source(pass, layer, encoded, both);
    const int64_t half = both.width() / 2;
    const StatePools& pools = state_.pools();
    pass.store(both, {0, half, half},
               {.keys = pools.cross_keys[i].raw(),
                .values = pools.cross_values[i].raw(),
                .dtype = pools.dtype,
                .at = table(at_at)});
  }
}

void Decoder::reserve_positions(int64_t count) {
  if (count <= positions_) return;
  context_.synchronize();  // the old tables go
  if (tables_.extend(count)) graphs_.clear();
  positions_ = count;
}

/// Fills the tables of a step; returns its rows with those that stand for nothing.
int64_t Decoder::begin(const StepInput& step) {
  const auto count = std::ssize(step.slots);
  HEDDLE_CHECK(std::ssize(step.previous) == count && count <= settings_.rows, "model: ", count,
               " slots with ", step.previous.size(), " tokens; expected as many of each, at most ",
               settings_.rows);
  const TransformerConfig& config = model_.config();
  for (const int32_t token : step.previous) {
    HEDDLE_CHECK(token >= -1 && token < config.target_vocabulary, "model: target token ", token,
                 "; expected less than ", config.target_vocabulary);
  }
  step_queued_.wait();  // the tables of the last step have left the memory
  const int64_t rows = rounded_rows(std::max<int64_t>(count, 1));
  auto* tokens = host_rows_.data<int32_t>();
  StepRows tables(tokens + rows, rows);
  tables.advance(step.slots, config, state_);
  std::ranges::copy(step.previous, tokens);
  std::fill(tokens + count, tokens + rows, -1);
  const bool attends = config.decoder_kind == DecoderKind::self_attention;
  const int64_t spare = attends ? settings_.target_tokens : settings_.rows;
  for (int64_t r = count; r < rows; ++r) tables.leave_empty(r, spare);
  reserve_positions(int64_t{*std::max_element(tables.position.begin(), tables.position.end())} + 1);
  pools_->flush();
  return rows;
}

void Decoder::queue_tables(int64_t rows) {
  heddle::cuda::copy(host_rows_.slice(0, 0, kStepTables * rows),
                     rows_.slice(0, 0, kStepTables * rows), context_.stream());
}

void Decoder::queue_layers(int64_t rows, const AlignmentRows* alignments) {
  auto* tokens = rows_.data<int32_t>();
  const StepRows tables(tokens + rows, rows);
  Pass pass({model_.weights(), model_.parameters(), tables_, nullptr, stepper_}, {}, nullptr);
  DeviceSlots memory(state_.pools(), tables.at);
  Rows hidden(hidden_at(), rows, model_.config().width, nullptr, model_.half());
  const ops::Workspace::Scope scope(stepper_.values);
  run_decoder(pass,
              {.rows = {.tokens = {tokens, static_cast<size_t>(rows)},
                        .positions = tables.position,
                        .visible = {.begin = tables.self_begin, .length = tables.self_length}},
               .cross = {.begin = tables.cross_begin, .length = tables.cross_length},
               .alignments = alignments},
              memory, hidden);
}

/// A whole step of plain greedy choice; all that it uses stays where it is.
void Decoder::queue_best(int64_t rows) {
  queue_tables(rows);
  queue_layers(rows, nullptr);
  chooser_.best(hidden_at(), rows, {}, stepper_.gemm());
  heddle::cuda::copy(chooser_.best_ids().slice(0, 0, rows), host_best_.slice(0, 0, rows),
                     context_.stream());
}

/// The layers of a step, and what aligns.
void Decoder::run(const StepInput& step) {
  const int64_t rows = begin(step);
  queue_tables(rows);
  step_queued_.record(context_.stream());
  if (!step.aligns) return queue_layers(rows, nullptr);
  alignment_lengths_.clear();
  for (const int slot : step.slots) alignment_lengths_.push_back(state_.source_length(slot));
  alignment_stride_ = 0;
  for (const int64_t length : alignment_lengths_) {
    alignment_stride_ = std::max(alignment_stride_, length);
  }
  const int64_t heads = model_.config().alignment_head < 0 ? model_.config().decoder.heads : 1;
  const int64_t size = rows * heads * alignment_stride_;
  if (!alignments_on_gpu_.defined() || alignments_on_gpu_.elements() < size) {
    alignments_on_gpu_ = Tensor::empty({size}, DType::f32, context_.memory());
  }
  const AlignmentRows alignments{alignments_on_gpu_.data<float>(), alignment_stride_};
  queue_layers(rows, &alignments);
  fetch_alignments(heads);
}

/// Brings the weights of the rows to the host: the mean over the heads.
void Decoder::fetch_alignments(int64_t heads) {
  const auto rows = std::ssize(alignment_lengths_);
  const int64_t size = rows * heads * alignment_stride_;
  std::vector<float> fetched(static_cast<size_t>(size));
  heddle::cuda::copy(alignments_on_gpu_.slice(0, 0, size),
                     Tensor::wrap(fetched.data(), {size}, {1}, DType::f32), context_.stream());
  context_.synchronize();
  alignments_.assign(static_cast<size_t>(rows * alignment_stride_), 0.0f);
  for (int64_t r = 0; r < rows; ++r) {
    float* to = alignments_.data() + r * alignment_stride_;
    for (int64_t h = 0; h < heads; ++h) {
      const float* from = fetched.data() + (r * heads + h) * alignment_stride_;
      for (int64_t j = 0; j < alignment_lengths_[static_cast<size_t>(r)]; ++j) {
        to[j] += from[j] / static_cast<float>(heads);
      }
    }
  }
}

std::span<const float> Decoder::alignment(int row) const {
  const auto r = static_cast<size_t>(row);
  return std::span(alignments_)
      .subspan(r * static_cast<size_t>(alignment_stride_),
               static_cast<size_t>(alignment_lengths_[r]));
}

void Decoder::advance(const StepInput& step) {
  if (!step.slots.empty()) run(step);
}

void Decoder::best(const StepInput& step, std::span<int32_t> tokens) {
  const auto count = std::ssize(step.slots);
  if (count == 0) return;
  if (step.restriction.given() || step.aligns) {
    run(step);
    chooser_.best(hidden_at(), count, step.restriction, stepper_.gemm());
    heddle::cuda::copy(chooser_.best_ids().slice(0, 0, count), host_best_.slice(0, 0, count),
                       context_.stream());
  } else {
    const int64_t rows = begin(step);
    Kept& kept = graphs_[rows];
    if (kept.graph == nullptr && settings_.graphs && kept.uses++ > 0) {
      kept.graph =
          std::make_unique<heddle::cuda::Graph>(context_.stream(), [&] { queue_best(rows); });
    }
    if (kept.graph != nullptr) {
      kept.graph->launch(context_.stream());
    } else {
      queue_best(rows);
    }
  }
  context_.synchronize();
  std::copy_n(host_best_.data<int32_t>(), count, tokens.begin());
}

RankedTokens Decoder::top(const StepInput& step, int k) {
  if (step.slots.empty()) return {};
  run(step);
  return chooser_.top(hidden_at(), std::ssize(step.slots), k, step.restriction, stepper_.gemm());
}

void Decoder::logits(const StepInput& step, std::span<float> values) {
  if (step.slots.empty()) return;
  run(step);
  chooser_.logits(hidden_at(), std::ssize(step.slots), values, stepper_.gemm());
}

}  // namespace heddle::model::cuda
