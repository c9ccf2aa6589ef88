// The Pass of a GPU: what layers_of_pass.h computes through there. See model/pass.h for what each
// operation means.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "heddle/autograd/cuda/functions.h"
#include "heddle/model/cuda/adapter_parameters.h"
#include "heddle/model/cuda/batch.h"
#include "heddle/model/cuda/parameters.h"
#include "heddle/model/layers.h"
#include "heddle/model/pass.h"
#include "heddle/model/weights.h"
#include "heddle/ops/dropout.h"

namespace heddle::model::cuda {

/// Tables of positions on the GPU, as long as the longest sentence so far.
class PositionTables {
 public:
  PositionTables(const Weights& weights, const DeviceParameters& parameters,
                 heddle::cuda::Context& context)
      : weights_(weights), parameters_(parameters), context_(context) {}

  /// Makes sure that positions below `count` are there. True: the tables lie elsewhere now.
  bool extend(int64_t count);

  const float* added(const StackEnds& ends) const;       ///< to embeddings, [positions, D] or null
  const float* angles(const RotaryTable& rotary) const;  ///< of one of the weights' tables

 private:
  const Weights& weights_;
  const DeviceParameters& parameters_;
  heddle::cuda::Context& context_;
  struct Rotary {
    const RotaryTable& table;
    int64_t head_width;
  };
  static constexpr int kRotaries = 3;  // of encoder, decoder and sliding layers
  const StackEnds& ends_of(int side) const;
  Rotary rotary(int number) const;
  Tensor added_table(const StackEnds& ends) const;

  int64_t count_ = 0;
  Tensor computed_[2];        // of encoder and decoder: [positions, D], or undefined
  Tensor angles_[kRotaries];  // [positions, E], or undefined
};

struct PassSettings {
  ops::Dropout dropout{};
  double activation_dropout = 0;
  bool recompute = false;
  bool trains = false;  ///< the bits are those with a tape, also without one
};

class Pass {
 public:
  using Rows = ops::cuda::Rows;

  /// What is on the GPU; the batch is for the way back alone.
  struct Parts {
    const Weights& weights;
    const DeviceParameters& parameters;
    const PositionTables& tables;
    const DeviceBatch* batch;
    autograd::cuda::Machine& machine;
    const AdapterParameters* adapter = nullptr;  ///< null: left out, if the weights have one
  };

  /// Without a tape nothing is dropped.
  Pass(const Parts& parts, const PassSettings& settings, autograd::cuda::Tape* tape)
      : parts_(parts),
        settings_(settings),
        run_{parts.machine, tape, settings.trains},
        trains_(tape != nullptr) {}
  Pass(const Pass&) = delete;
  Pass& operator=(const Pass&) = delete;

  const Weights& weights() const { return parts_.weights; }
  Rows rows(int64_t count, int64_t width) { return run_.rows(count, width); }
  Rows columns(const Rows& x, int64_t begin, int64_t end) { return x.columns(begin, end); }

  class Scope {
   public:
    explicit Scope(Pass& pass) {
      if (pass.run_.tape == nullptr) scope_.emplace(pass.parts_.machine.values);
    }

   private:
    std::optional<ops::Workspace::Scope> scope_;
  };

  struct After {
    ops::Activation activation = ops::Activation::none;
    const Rows* residual = nullptr;
    ops::Next next{};
  };
  void linear(const Rows& x, const Projection& projection, const After& after, Rows& y);
  void norm(Rows& x, const Rows* residual, const NormWeights& norm, const ops::Next& next, Rows& y,
            bool drops = false);
  void norm_heads(const HeadNorms& norms, const AttentionShape& shape, Rows& x);
  void add(const Rows& y, Rows& x, bool drops = false);
  void copy(const Rows& x, Rows& y);
  void gate(const Rows& x, const ops::Next& next, Rows& y);
  void embed(std::span<const int32_t> tokens, const StackEnds& ends,
             std::span<const int32_t> positions, const ops::Next& next, Rows& x);
  void turn(const RotaryTable& rotary, std::span<const int32_t> positions, int64_t heads, Rows& x);
  void ssru_scan(const Rows& gates, std::span<const int32_t> offsets, Rows& y);
  void ssru_step(const Rows& gates, const LayerPast& past, Rows& y);
  void store(const Rows& x, const KeyColumns& columns, const LayerPast& past);

  /// Under a mask, or over ranges. Alignments are those of all heads that the config names, row by
  /// row, each head's `stride` numbers wide.
  void attend(const Rows& q, const KeysOf<Rows>& keys, const Visible& visible,
              const AttentionShape& shape, Rows& out, const AlignmentRows* alignments = nullptr);

  bool drops() const { return trains_ && settings_.dropout.probability > 0; }
  void drop(Rows& x) { autograd::cuda::drop(run_, next_dropout(settings_.dropout.probability), x); }
  void drop_activations(Rows& x) {
    if (trains_ && settings_.activation_dropout > 0) {
      autograd::cuda::drop(run_, next_dropout(settings_.activation_dropout), x);
    }
  }
  void set_first_row(uint64_t row) { first_row_ = row; }

  template <typename F>
  void block(Rows& x, const F& f) {
    if (run_.tape == nullptr || !settings_.recompute) {
      f(x);
      // A bias then sums the rounded gradient, which is all there is when f is computed again.
      if (x.gradient() != nullptr) x.gradient()->column_sums = nullptr;
      return;
    }
    const uint32_t site = site_;
    const uint64_t first_row = first_row_;
    const Rows input = x;
    const Rows output = run_.tape->rows(x.count(), x.width());
    run_unrecorded(input, output, f);
    run_.tape->record(output, [this, site, first_row, input, output, f](auto& tape) {
      const size_t size = tape.size();
      const ops::Workspace::Scope values(parts_.machine.values), host(parts_.machine.host);
      site_ = site;
      first_row_ = first_row;
      Rows again = input;
      f(again);
      tape.move_gradient(output, again);
      tape.run_back_to(size);
    });
    x = output;
  }

 private:
  void add_low_rank(const Rows& x, const Projection::Part& part, const Rows& y);
  void attend_over_ranges(const Rows& q, const KeysOf<Rows>& keys, const Visible& visible,
                          const AttentionShape& shape, Rows& out, const AlignmentRows* alignments);

  template <typename F>
  void run_unrecorded(const Rows& input, const Rows& output, const F& f) {
    autograd::cuda::Tape* const tape = run_.tape;
    run_.tape = nullptr;
    const ops::Workspace::Scope scope(parts_.machine.values);
    Rows plain(output.row(0), output.count(), output.width(), nullptr);
    copy(input, plain);
    f(plain);
    run_.tape = tape;
  }

  ops::cuda::DropoutKey next_dropout(double probability);

  Parts parts_;
  PassSettings settings_;
  autograd::cuda::Run run_;
  bool trains_;
  uint32_t site_ = 0;  // of the next dropout
  uint64_t first_row_ = 0;
};

}  // namespace heddle::model::cuda
