#include "heddle/attention/attention.h"

#include "heddle/autograd/cuda/functions.h"

namespace heddle::autograd::cuda {

namespace {

using ops::cuda::RowsView;

/// [T, heads, width / heads] over rows.
Tensor heads_of(RowsView view, const Rows& rows, int64_t heads, Device device) {
  const int64_t width = rows.width() / heads;
  return Tensor::wrap(view.data, {rows.count(), heads, width}, {view.stride, width, 1},
                      stored_as(view.half), device);
}

/// Makes gradients that q, k and v cover together without zeroing them.
void open_gradients(Tape& tape, const AttentionRows& rows) {
  for (const Rows* each : {&rows.q, &rows.k, &rows.v}) {
    if (tape.has_gradient(*each)) continue;
    int64_t covered = 0;
    for (const Rows* other : {&rows.q, &rows.k, &rows.v}) {
      if (other->gradient() == each->gradient()) covered += other->width();
    }
    if (covered == each->gradient()->width) tape.open_gradient(*each);
  }
}

/// A gradient that attention overwrites: that of the rows if nothing had reached it before this
/// operation, else a part to be added.
class Part {
 public:
  Part(Tape& tape, const Rows& rows, bool first) : tape_(tape), rows_(rows), adds_(!first) {
    to_ = adds_ ? RowsView{tape.take_elements(rows.count() * rows.width()), rows.width()}
                : tape.gradient(rows);
  }
  /// After the gradient was written.
  void finish() const {
    if (!adds_) return;
    tape_.add(to_, rows_);
    tape_.give_back(to_.data, rows_.count() * rows_.width());
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  Tensor heads(int64_t count, Device device) const { return heads_of(to_, rows_, count, device); }

 private:
  Tape& tape_;
  const Rows& rows_;
  bool adds_;
  RowsView to_;
};

}  // namespace

void attention(const Run& run, const AttentionRows& rows, const ColumnMask& mask,
               DeviceMask& device_mask, Rows& out) {
  run.result(out);
  Machine& machine = run.machine;
  float* lse = machine.values.take<float>(rows.heads * rows.q.count());
  const auto arguments = [lse, rows, mask_of = &mask, on_device = &device_mask](
                             Machine& on, const Rows& result) {
    const Device device = on.context().device();
    return attention::Args{.q = heads_of(rows.q.view(), rows.q, rows.heads, device),
                           .k = heads_of(rows.k.view(), rows.k, rows.kv_heads, device),
                           .v = heads_of(rows.v.view(), rows.v, rows.kv_heads, device),
                           .out = heads_of(result.view(), result, rows.heads, device),
                           .lse = Tensor::wrap(lse, {rows.heads, rows.q.count()},
                                               {rows.q.count(), 1}, DType::f32, device),
                           .mask = mask_of,
                           .scale = rows.scale,
                           .cuda = &on.scratch_context(),
                           .device_mask = on_device,
                           .deterministic = true};
  };
  {
    const ops::Workspace::Scope scope(machine.scratch);
    attention::forward(arguments(machine, out));
  }
  if (run.tape == nullptr) return;
  run.tape->record(out, [&machine, rows, out, arguments](Tape& t) {
    const ops::Workspace::Scope scope(machine.scratch);
    const Device device = machine.context().device();
    const bool first_q = !t.has_gradient(rows.q), first_k = !t.has_gradient(rows.k),
               first_v = !t.has_gradient(rows.v);
    open_gradients(t, rows);
    const Part d_q(t, rows.q, first_q), d_k(t, rows.k, first_k), d_v(t, rows.v, first_v);
    attention::backward(arguments(machine, out),
                        {.d_out = heads_of(t.gradient(out), out, rows.heads, device),
                         .d_q = d_q.heads(rows.heads, device),
                         .d_k = d_k.heads(rows.kv_heads, device),
                         .d_v = d_v.heads(rows.kv_heads, device)});
    for (const Part* part : {&d_q, &d_k, &d_v}) part->finish();
  });
}

}  // namespace heddle::autograd::cuda
