#include "heddle/autograd/cuda/functions.h"

#include <optional>

#include "heddle/base/error.h"

namespace heddle::autograd::cuda {

namespace {

using heddle::cuda::StreamHandle;
using ops::cuda::Extent;
using ops::cuda::RowsView;

std::optional<Rows> copy_of(const Rows* rows) {
  return rows != nullptr ? std::optional(*rows) : std::nullopt;
}

RowsView view_of(const std::optional<Rows>& rows) {
  return rows ? rows->view() : RowsView{nullptr, 0};
}

/// Memory of one operation.
class Scratch {
 public:
  explicit Scratch(Machine& machine) : machine_(machine), scope_(machine.scratch) {}
  float* floats(int64_t count) { return machine_.scratch.take<float>(count); }

 private:
  Machine& machine_;
  ops::Workspace::Scope scope_;
};

void add_bias_gradients(Machine& machine, const Extent& extent, RowsView d_y,
                        std::span<const ParameterRange> biases) {
  for (const ParameterRange& range : biases) {
    Scratch scratch(machine);
    const Extent columns{extent.rows, range.end - range.begin};
    HEDDLE_CUDA_CHECK(ops::cuda::launch_column_sums(
        {.extent = columns,
         .x = {d_y.data + range.begin, d_y.stride},
         .factor = range.factor,
         .sums = range.d_values,
         .scratch = scratch.floats(ops::cuda::column_sums_scratch(columns))},
        machine.stream()));
  }
}

/// Whether the biases are one parameter, as it is.
bool is_plain(std::span<const ParameterRange> biases, int64_t width) {
  return biases.size() == 1 && biases.front().begin == 0 && biases.front().end == width &&
         biases.front().factor == 1;
}

/// d_y = slopes ∘ d_y, and its column sums to the biases: in one go where these are plain.
void activation_backward(Machine& machine, const ops::cuda::ActivateBackward& slopes,
                         std::span<const ParameterRange> biases) {
  const Extent& extent = slopes.extent;
  if (!is_plain(biases, extent.width)) {
    HEDDLE_CUDA_CHECK(ops::cuda::launch_activate_backward(slopes, machine.stream()));
    add_bias_gradients(machine, extent, slopes.d_x, biases);
    return;
  }
  Scratch scratch(machine);
  HEDDLE_CUDA_CHECK(ops::cuda::launch_activate_backward(
      slopes,
      {.extent = extent,
       .x = slopes.d_x,
       .factor = 1,
       .sums = biases.front().d_values,
       .scratch = scratch.floats(ops::cuda::column_sums_scratch(extent))},
      machine.stream()));
}

/// The gradients of a product y = x · Wᵀ, beside those of its bias.
void linear_backward(Tape& tape, Machine& machine, const Rows& input, const Linear& weights,
                     RowsView d_y) {
  if (input.count() == 0) return;
  for (const ParameterRange& range : weights.weights) {
    machine.gemm().multiply({.m = range.end - range.begin,
                             .n = weights.in,
                             .k = input.count(),
                             .a = {d_y.data + range.begin, d_y.stride, true},
                             .b = {input.row(0), input.stride()},
                             .c = range.d_values,
                             .c_stride = weights.in,
                             .single = true,
                             .alpha = range.factor,
                             .beta = 1});
  }
  if (input.gradient() == nullptr) return;
  const bool adds = tape.has_gradient(input) || !Tape::is_whole(input);
  const RowsView d_x = adds ? tape.gradient(input) : tape.fresh_gradient(input);
  machine.gemm().multiply({.m = input.count(),
                           .n = weights.in,
                           .k = weights.out,
                           .a = {d_y.data, d_y.stride},
                           .b = {weights.weight, weights.in},
                           .c = d_x.data,
                           .c_stride = d_x.stride,
                           .beta = adds ? 1.0f : 0.0f});
}

}  // namespace

Rows Run::rows(int64_t count, int64_t width) const {
  if (tape != nullptr) return tape->rows(count, width);
  return {machine.values.take<BFloat16>(count * width), count, width, nullptr, machine.half()};
}

void copy(Machine& machine, const Rows& from, const Rows& to) {
  HEDDLE_CUDA_CHECK(ops::cuda::launch_add({.extent = to.extent(),
                                           .first = {nullptr, 0},
                                           .second = from.view(),
                                           .y = to.view(),
                                           .dropout = {}},
                                          machine.stream()));
}

void linear(const Run& run, const Rows& x, const Linear& weights, ops::Activation activation,
            const Rows* residual, Rows& y) {
  const Rows input = x;
  const std::optional<Rows> sum = copy_of(residual);
  HEDDLE_CHECK(activation == ops::Activation::none || !sum,
               "autograd: a residual behind an activation");
  run.result(y);
  const bool relu = activation == ops::Activation::relu;
  const bool apart = activation != ops::Activation::none && !relu;
  const bool moves = run.sums_apart && sum && sum->row(0) == y.row(0);
  const Rows before = apart || moves ? run.rows(y.count(), y.width()) : y;
  run.machine.gemm().multiply({.m = input.count(),
                               .n = weights.out,
                               .k = weights.in,
                               .a = {input.row(0), input.stride()},
                               .b = {weights.weight, weights.in, true},
                               .c = before.row(0),
                               .c_stride = before.stride(),
                               .beta = sum ? 1.0f : 0.0f,
                               .addend = sum ? sum->row(0) : nullptr,
                               .addend_stride = sum ? sum->stride() : 0,
                               .bias = weights.bias,
                               .relu = relu});
  if (moves) copy(run.machine, before, y);
  if (apart) {
    HEDDLE_CUDA_CHECK(ops::cuda::launch_activate({.extent = y.extent(),
                                                  .x = before.view(),
                                                  .y = y.view(),
                                                  .activation = activation,
                                                  .dropout = {}},
                                                 run.machine.stream()));
  }
  if (run.tape == nullptr) return;
  if (activation == ops::Activation::none && is_plain(weights.biases, y.width())) {
    y.gradient()->column_sums = weights.biases.front().d_values;
  }
  run.tape->record(y,
                   [&machine = run.machine, input, weights, activation, sum, before, y](Tape& t) {
                     const bool summed = y.gradient()->summed;
                     const RowsView d_y = t.gradient(y);
                     if (activation == ops::Activation::none) {
                       if (!summed) add_bias_gradients(machine, y.extent(), d_y, weights.biases);
                     } else {  // with relu, `before` is y: the same slopes
                       activation_backward(machine,
                                           {.extent = y.extent(),
                                            .x = before.view(),
                                            .d_y = d_y,
                                            .d_x = d_y,
                                            .activation = activation,
                                            .dropout = {}},
                                           weights.biases);
                     }
                     linear_backward(t, machine, input, weights, d_y);
                     if (sum) t.pass_on(y, *sum);
                   });
}

void norm(const Run& run, const Rows& x, const Rows* residual, const Norm& norm,
          const DropoutKey& dropout, Rows& y) {
  const Rows input = x;
  const std::optional<Rows> other = copy_of(residual);
  run.result(y);
  const bool records = run.tape != nullptr;
  const bool sums = other || dropout.bound > 0;
  float* mean = records ? run.machine.values.take<float>(2 * input.count()) : nullptr;
  float* factor = records ? mean + input.count() : nullptr;
  HEDDLE_CUDA_CHECK(ops::cuda::launch_norm({.extent = input.extent(),
                                            .x = input.view(),
                                            .residual = view_of(other),
                                            .y = y.view(),
                                            .dropout = dropout,
                                            .keeps_sum = records && sums,
                                            .subtracts_mean = norm.subtracts_mean,
                                            .weight = norm.weight,
                                            .bias = norm.bias,
                                            .epsilon = norm.epsilon,
                                            .mean = mean,
                                            .factor = factor},
                                           run.machine.stream()));
  if (!records) return;
  run.tape->record(
      y, [&machine = run.machine, input, other, norm, dropout, mean, factor, y](Tape& t) {
        // Each gradient is overwritten where it is whole and new, else added to.
        const auto place = [&t](const Rows& rows, bool& adds) -> RowsView {
          if (rows.gradient() == nullptr) return {nullptr, 0};
          adds = t.has_gradient(rows) || !Tape::is_whole(rows);
          return adds ? t.gradient(rows) : t.fresh_gradient(rows);
        };
        bool adds_x = false, adds_other = false;
        const RowsView d_x = place(input, adds_x);
        const RowsView d_other = other ? place(*other, adds_other) : RowsView{nullptr, 0};
        float* d_x_sums = nullptr;
        if (d_x.data != nullptr && !adds_x && ops::cuda::norm_backward_can_sum(input.extent())) {
          d_x_sums = input.gradient()->column_sums;
        }
        Scratch scratch(machine);
        HEDDLE_CUDA_CHECK(ops::cuda::launch_norm_backward(
            {.extent = input.extent(),
             .sum = input.view(),
             .d_y = t.gradient(y),
             .d_residual = d_other,
             .d_x = d_x,
             .adds_residual = adds_other,
             .adds_x = adds_x,
             .dropout = dropout,
             .subtracts_mean = norm.subtracts_mean,
             .weight = norm.weight,
             .mean = mean,
             .factor = factor,
             .d_weight = norm.d_weight,
             .d_bias = norm.d_bias,
             .d_x_sums = d_x_sums,
             .scratch = scratch.floats(ops::cuda::norm_backward_scratch(input.extent()))},
            machine.stream()));
        if (d_x_sums != nullptr) input.gradient()->summed = true;
      });
}

void glu(const Run& run, const Rows& x, ops::Activation activation, Rows& y) {
  const Rows input = x;
  run.result(y);
  HEDDLE_CUDA_CHECK(ops::cuda::launch_glu({.extent = y.extent(),
                                           .x = input.view(),
                                           .y = y.view(),
                                           .activation = activation,
                                           .dropout = {}},
                                          run.machine.stream()));
  if (run.tape == nullptr) return;
  run.tape->record(y, [&machine = run.machine, input, activation, y](Tape& t) {
    t.contribute(input, [&](RowsView d_x) {
      HEDDLE_CUDA_CHECK(ops::cuda::launch_glu_backward({.extent = y.extent(),
                                                        .x = input.view(),
                                                        .d_y = t.gradient(y),
                                                        .d_x = d_x,
                                                        .activation = activation,
                                                        .dropout = {}},
                                                       machine.stream()));
    });
  });
}

void add(const Run& run, const Rows& y, const DropoutKey& dropout, Rows& x) {
  const Rows first = x, second = y;
  run.result(x);
  HEDDLE_CUDA_CHECK(ops::cuda::launch_add({.extent = x.extent(),
                                           .first = first.view(),
                                           .second = second.view(),
                                           .y = x.view(),
                                           .dropout = dropout},
                                          run.machine.stream()));
  if (run.tape == nullptr) return;
  run.tape->record(x, [&machine = run.machine, first, second, dropout, x](Tape& t) {
    t.contribute(second, [&](RowsView d_second) {
      HEDDLE_CUDA_CHECK(ops::cuda::launch_add({.extent = x.extent(),
                                               .first = {nullptr, 0},
                                               .second = t.gradient(x),
                                               .y = d_second,
                                               .dropout = dropout},
                                              machine.stream()));
    });
    t.pass_on(x, first);
  });
}

void drop(const Run& run, const DropoutKey& dropout, Rows& x) {
  const Rows input = x;
  run.result(x);
  const auto launch = [](RowsView from, const Rows& like, const DropoutKey& key, RowsView to,
                         StreamHandle stream) {
    HEDDLE_CUDA_CHECK(ops::cuda::launch_add(
        {.extent = like.extent(), .first = {nullptr, 0}, .second = from, .y = to, .dropout = key},
        stream));
  };
  launch(input.view(), x, dropout, x.view(), run.machine.stream());
  if (run.tape == nullptr) return;
  run.tape->record(x, [&machine = run.machine, launch, dropout, input, y = x](Tape& t) {
    t.contribute(input,
                 [&](RowsView d_x) { launch(t.gradient(y), y, dropout, d_x, machine.stream()); });
  });
}

void ssru_scan(const Run& run, const Rows& gates, const int32_t* offsets, int64_t sequences,
               Rows& y) {
  const Rows input = gates;
  run.result(y);
  HEDDLE_CUDA_CHECK(ops::cuda::launch_ssru_scan({.sequences = sequences,
                                                 .width = y.width(),
                                                 .offsets = offsets,
                                                 .gates = input.view(),
                                                 .out = y.view()},
                                                run.machine.stream()));
  if (run.tape == nullptr) return;
  run.tape->record(y, [&machine = run.machine, input, offsets, sequences, y](Tape& t) {
    t.contribute(input, [&](RowsView d_gates) {
      Scratch scratch(machine);
      HEDDLE_CUDA_CHECK(
          ops::cuda::launch_ssru_scan_backward({.sequences = sequences,
                                                .width = y.width(),
                                                .offsets = offsets,
                                                .gates = input.view(),
                                                .d_out = t.gradient(y),
                                                .d_gates = d_gates,
                                                .cells = scratch.floats(y.count() * y.width())},
                                               machine.stream()));
    });
  });
}

void embed(const Run& run, const Embedding& embedding, Rows& y) {
  run.result(y);
  HEDDLE_CUDA_CHECK(ops::cuda::launch_embed({.extent = y.extent(),
                                             .tokens = embedding.tokens,
                                             .table = embedding.table,
                                             .scale = embedding.scale,
                                             .positions = embedding.positions,
                                             .of_row = embedding.of_row,
                                             .dropout = {},
                                             .y = y.view()},
                                            run.machine.stream()));
  if (run.tape == nullptr) return;
  run.tape->record(y, [&machine = run.machine, embedding, y](Tape& t) {
    const auto scatter = [&](const ops::cuda::RowGroups& groups, float scale, float* d_table) {
      if (d_table == nullptr || groups.groups == 0) return;
      Scratch scratch(machine);
      HEDDLE_CUDA_CHECK(ops::cuda::launch_scatter_rows(
          {.extent = y.extent(),
           .d_y = t.gradient(y),
           .groups = groups,
           .scale = scale,
           .dropout = {},
           .d_table = d_table,
           .scratch = scratch.floats(ops::cuda::scatter_rows_scratch(y.extent(), groups))},
          machine.stream()));
    };
    scatter(embedding.by_token, embedding.scale, embedding.d_table);
    scatter(embedding.by_position, 1, embedding.d_positions);
  });
}

void turn(const Run& run, const Rotation& rotation, const Rows& x) {
  const auto launch = [](const Rotation& by, int64_t rows, RowsView values, float direction,
                         StreamHandle stream) {
    HEDDLE_CUDA_CHECK(ops::cuda::launch_turn({.rows = rows,
                                              .heads = by.heads,
                                              .head_width = by.head_width,
                                              .x = values,
                                              .positions = by.positions,
                                              .table = by.table,
                                              .direction = direction},
                                             stream));
  };
  launch(rotation, x.count(), x.view(), 1, run.machine.stream());
  if (run.tape == nullptr) return;
  run.tape->record_in_place(x, [&machine = run.machine, launch, rotation, x](Tape& t) {
    launch(rotation, x.count(), t.gradient(x), -1, machine.stream());
  });
}

}  // namespace heddle::autograd::cuda
