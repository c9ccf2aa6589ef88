// Sentences that are decoded on a GPU: encodes sources into slots and takes their steps. The same
// slots and layers as on the processor (decoder_state.h, layers.h); keys and values in bf16 or f16,
// as the weights.
//
// All work is queued on one stream. A step is: one copy of tables to the GPU, the layers, the
// choice (chooser.h), one copy of tokens back. Steps that ask for the best tokens alone are kept as
// CUDA graphs, one for each number of rows in coarse classes; what is behind the last row stands
// for nothing.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "heddle/autograd/cuda/tape.h"
#include "heddle/model/cuda/chooser.h"
#include "heddle/model/cuda/inference.h"
#include "heddle/model/cuda/pass.h"
#include "heddle/model/cuda/pools.h"
#include "heddle/model/decoder_state.h"
#include "heddle/tensor/cuda.h"

namespace heddle::model::cuda {

/// What a step reads: [R] slots, each once, and the token that each has written last.
struct StepInput {
  std::span<const int> slots;
  std::span<const int32_t> previous;
  Restriction restriction{};
  bool aligns = false;  ///< leave the weights of the alignment head
};

struct DecoderSettings {
  int rows = 1;
  int64_t source_tokens = 0, target_tokens = 0;  ///< as Limits
  bool graphs = true;                            ///< off: each kernel is launched by itself
};

class Decoder {
 public:
  /// The model must outlive the decoder. `bias` [V] of the output, −inf where nothing is written.
  Decoder(const InferenceTransformer& model, const DecoderSettings& settings,
          std::span<const float> bias);
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  DecoderState& state() { return state_; }
  const DecoderState& state() const { return state_; }

  /// Queues: tokens [T], sentence s = [offsets[s], offsets[s + 1]), into slots[s].
  void encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
              std::span<const int> slots);

  /// Steps; all but `advance` wait for the GPU.
  void advance(const StepInput& step);
  void best(const StepInput& step, std::span<int32_t> tokens);  ///< [R]
  RankedTokens top(const StepInput& step, int k);               ///< until the next step
  void logits(const StepInput& step, std::span<float> values);  ///< [R, V], bias added

  /// Of row r in the last step that aligned.
  std::span<const float> alignment(int row) const;

  /// Waits for all that was queued.
  void synchronize() const { context_.synchronize(); }

 private:
  int64_t place_sources(std::span<const int32_t> offsets, std::span<const int> slots,
                        std::span<int32_t> at, std::span<int32_t> positions) const;
  int64_t begin(const StepInput& step);
  void queue_tables(int64_t rows);
  void queue_layers(int64_t rows, const AlignmentRows* alignments);
  void queue_best(int64_t rows);
  void run(const StepInput& step);
  void fetch_alignments(int64_t heads);
  void warm_up();
  void reserve_positions(int64_t count);
  BFloat16* hidden_at() const { return static_cast<BFloat16*>(hidden_.raw()); }

  const InferenceTransformer& model_;
  DecoderSettings settings_;
  int64_t capacity_;  // rows, those of the largest class
  heddle::cuda::Context context_;
  autograd::cuda::Machine encoder_, stepper_;  // memory of each: that of steps never moves
  DevicePools* pools_;                         // of state_
  DecoderState state_;
  PositionTables tables_;
  int64_t positions_ = 0;
  Staging sources_;
  heddle::cuda::Event sources_copied_, step_queued_;

  Tensor host_rows_, rows_;  // i32 [tables · capacity]: tokens and StepRows; page-locked, GPU
  Tensor hidden_;            // halves [capacity, D]
  Tensor host_best_;         // i32 [capacity], page-locked
  Chooser chooser_;

  Tensor alignments_on_gpu_;       // f32 [capacity, heads, stride], or undefined
  std::vector<float> alignments_;  // [R, stride]
  std::vector<int64_t> alignment_lengths_;
  int64_t alignment_stride_ = 0;

  struct Kept {
    int uses = 0;  // the first is run as it is: kernels are loaded then, and memory is found
    std::unique_ptr<heddle::cuda::Graph> graph;
  };
  std::map<int64_t, Kept> graphs_;  // by class
};

}  // namespace heddle::model::cuda
