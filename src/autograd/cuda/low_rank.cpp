#include "heddle/autograd/cuda/functions.h"
#include "heddle/ops/cuda/decompose.h"

namespace heddle::autograd::cuda {

namespace {

using ops::cuda::RowsView;
using Up = LowRankProducts::Up;

/// Of change i: its columns of the inner rows.
BFloat16* columns_of(const LowRankProducts& low, size_t i, RowsView inner) {
  return inner.data + static_cast<int64_t>(i) * low.rank;
}

RowsView columns_of(const Up& up, RowsView y) { return {y.data + up.begin, y.stride}; }

/// to [R, N] = scale · inner · Bᵀ, or is added to.
void go_up(Machine& machine, const LowRankProducts& low, size_t i, const Rows& inner, RowsView to,
           bool adds) {
  const Up& up = low.ups[i];
  machine.gemm().multiply({.m = inner.count(),
                           .n = up.end - up.begin,
                           .k = low.rank,
                           .a = {columns_of(low, i, inner.view()), inner.stride()},
                           .b = {up.weight, low.rank, true},
                           .c = to.data,
                           .c_stride = to.stride,
                           .alpha = low.scale,
                           .beta = adds ? 1.0f : 0.0f});
}

/// From the gradient of what went up: that of B is added to, that of the inner columns overwritten.
void come_down(Machine& machine, const LowRankProducts& low, size_t i, const Rows& inner,
               RowsView d_up, RowsView d_inner) {
  const Up& up = low.ups[i];
  machine.gemm().multiply({.m = up.end - up.begin,
                           .n = low.rank,
                           .k = inner.count(),
                           .a = {d_up.data, d_up.stride, true},
                           .b = {columns_of(low, i, inner.view()), inner.stride()},
                           .c = up.d_weight,
                           .c_stride = low.rank,
                           .single = true,
                           .alpha = low.scale,
                           .beta = 1});
  machine.gemm().multiply({.m = inner.count(),
                           .n = low.rank,
                           .k = up.end - up.begin,
                           .a = {d_up.data, d_up.stride},
                           .b = {up.weight, low.rank},
                           .c = columns_of(low, i, d_inner),
                           .c_stride = d_inner.stride,
                           .alpha = low.scale});
}

/// Of rows whose columns all changes overwrite together.
RowsView open_gradient(Tape& tape, const Rows& inner) {
  if (!tape.has_gradient(inner)) tape.open_gradient(inner);
  return tape.gradient(inner);
}

/// The way back of `decomposed`, before that of `plain`. d_moved takes the place of moved.
void decomposed_backward(Tape& tape, Machine& machine, const Up& up, const Rows& plain,
                         const Rows& moved, RowsView d_y) {
  const ops::Workspace::Scope scope(machine.scratch);
  const RowsView slopes{machine.scratch.take<BFloat16>(plain.count() * plain.width()),
                        plain.width()};
  HEDDLE_CUDA_CHECK(ops::cuda::launch_decompose_backward({.extent = plain.extent(),
                                                          .plain = plain.view(),
                                                          .moved = moved.view(),
                                                          .d_y = d_y,
                                                          .d_plain = tape.fresh_gradient(plain),
                                                          .d_moved = moved.view(),
                                                          .slopes = slopes,
                                                          .gain = up.gain,
                                                          .inverse_length = up.inverse_length},
                                                         machine.stream()));
  HEDDLE_CUDA_CHECK(ops::cuda::launch_column_sums(
      {.extent = plain.extent(),
       .x = slopes,
       .factor = 1,
       .sums = up.d_magnitude,
       .scratch = machine.scratch.take<float>(ops::cuda::column_sums_scratch(plain.extent()))},
      machine.stream()));
}

/// y's columns of change i with DoRA.
void decomposed(const Run& run, const Rows& x, const LowRankProducts& low, size_t i,
                const Rows& inner, const Rows& y) {
  Machine& machine = run.machine;
  const Up& up = low.ups[i];
  const int64_t width = up.end - up.begin;
  Rows plain = run.rows(x.count(), width);  // W x [R, N]
  linear(run, x, {up.base, nullptr, width, low.down.in, {}, {}}, ops::Activation::none, nullptr,
         plain);
  const Rows moved(machine.values.take<BFloat16>(x.count() * width), x.count(), width, nullptr);
  go_up(machine, low, i, inner, moved.view(), false);
  HEDDLE_CUDA_CHECK(ops::cuda::launch_decompose({.extent = plain.extent(),
                                                 .plain = plain.view(),
                                                 .moved = moved.view(),
                                                 .y = columns_of(up, y.view()),
                                                 .gain = up.gain},
                                                machine.stream()));
  if (run.tape == nullptr) return;
  run.tape->record_in_place(y, [&machine, low, i, inner, plain, moved, y](Tape& t) {
    const Up& change = low.ups[i];
    decomposed_backward(t, machine, change, plain, moved, columns_of(change, t.gradient(y)));
    come_down(machine, low, i, inner, moved.view(), open_gradient(t, inner));
  });
}

}  // namespace

void add_low_rank(const Run& run, const Rows& x, const LowRankProducts& low, const Rows& y) {
  if (x.count() == 0) return;
  Rows inner = run.rows(x.count(), low.down.out);  // [R, C · r]
  linear(run, x, low.down, ops::Activation::none, nullptr, inner);
  if (low.ups.front().gain != nullptr) {
    for (size_t i = 0; i < low.ups.size(); ++i) decomposed(run, x, low, i, inner, y);
    return;
  }
  for (size_t i = 0; i < low.ups.size(); ++i) {
    go_up(run.machine, low, i, inner, columns_of(low.ups[i], y.view()), true);
  }
  if (run.tape == nullptr) return;
  run.tape->record_in_place(y, [&machine = run.machine, low, inner, y](Tape& t) {
    const RowsView d_y = t.gradient(y), d_inner = open_gradient(t, inner);
    for (size_t i = 0; i < low.ups.size(); ++i) {
      come_down(machine, low, i, inner, columns_of(low.ups[i], d_y), d_inner);
    }
  });
}

}  // namespace heddle::autograd::cuda
