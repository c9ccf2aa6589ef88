#include "heddle/autograd/cuda/functions.h"

namespace heddle::autograd::cuda {

namespace {

using ops::cuda::RowsView;

/// Of change i: its columns of the inner rows.
BFloat16* columns_of(const LowRankProducts& low, size_t i, RowsView inner) {
  return inner.data + static_cast<int64_t>(i) * low.rank;
}

void go_up(Machine& machine, const LowRankProducts& low, RowsView inner, const Rows& y) {
  for (size_t i = 0; i < low.ups.size(); ++i) {
    const LowRankProducts::Up& up = low.ups[i];
    machine.gemm().multiply({.m = y.count(),
                             .n = up.end - up.begin,
                             .k = low.rank,
                             .a = {columns_of(low, i, inner), inner.stride},
                             .b = {up.weight, low.rank, true},
                             .c = y.row(0) + up.begin,
                             .c_stride = y.stride(),
                             .alpha = low.scale,
                             .beta = 1});
  }
}

/// The gradients of each B, and of the inner rows, all of whose columns are overwritten.
void come_down(Machine& machine, const LowRankProducts& low, const Rows& inner, RowsView d_y,
               RowsView d_inner) {
  for (size_t i = 0; i < low.ups.size(); ++i) {
    const LowRankProducts::Up& up = low.ups[i];
    machine.gemm().multiply({.m = up.end - up.begin,
                             .n = low.rank,
                             .k = inner.count(),
                             .a = {d_y.data + up.begin, d_y.stride, true},
                             .b = {columns_of(low, i, inner.view()), inner.stride()},
                             .c = up.d_weight,
                             .c_stride = low.rank,
                             .single = true,
                             .alpha = low.scale,
                             .beta = 1});
    machine.gemm().multiply({.m = inner.count(),
                             .n = low.rank,
                             .k = up.end - up.begin,
                             .a = {d_y.data + up.begin, d_y.stride},
                             .b = {up.weight, low.rank},
                             .c = columns_of(low, i, d_inner),
                             .c_stride = d_inner.stride,
                             .alpha = low.scale});
  }
}

}  // namespace

void add_low_rank(const Run& run, const Rows& x, const LowRankProducts& low, const Rows& y) {
  if (x.count() == 0) return;
  Rows inner = run.rows(x.count(), low.down.out);  // [R, C · r]
  linear(run, x, low.down, ops::Activation::none, nullptr, inner);
  go_up(run.machine, low, inner.view(), y);
  if (run.tape == nullptr) return;
  run.tape->record_in_place(y, [&machine = run.machine, inner, low, y](Tape& t) {
    come_down(machine, low, inner, t.gradient(y), t.fresh_gradient(inner));
  });
}

}  // namespace heddle::autograd::cuda
