#include <algorithm>

#include "heddle/attention/attention.h"
#include "heddle/autograd/functions.h"

namespace heddle::autograd {

namespace {

/// [T, heads, width / heads] over plain rows.
Tensor heads_of(const float* values, const ops::Rows& rows, int64_t stride, int64_t heads) {
  const int64_t width = rows.width() / heads;
  return Tensor::wrap(const_cast<float*>(values), {rows.count(), heads, width}, {stride, width, 1},
                      DType::f32);
}

Tensor heads_of(const ops::Rows& rows, int64_t heads) {
  return heads_of(rows.row(0), rows, rows.stride(), heads);
}

/// Attention overwrites a gradient: that of the rows while they have none, else a part to be added.
class Part {
 public:
  /// `first`: nothing had reached the gradient before this operation.
  Part(Tape& tape, const ops::Rows& rows, bool first) : tape_(tape), rows_(rows), adds_(!first) {
    const int64_t floats = rows.count() * rows.width();
    to_ = adds_ ? ops::PlainRows{tape.take_elements(floats), rows.width()} : tape.gradient(rows);
  }
  ~Part() {
    if (!adds_) return;
    tape_.add(to_, rows_);
    tape_.give_back(to_.values, rows_.count() * rows_.width());
  }
  Part(const Part&) = delete;
  Part& operator=(const Part&) = delete;

  Tensor heads(int64_t count) const { return heads_of(to_.values, rows_, to_.stride, count); }

 private:
  Tape& tape_;
  const ops::Rows& rows_;
  bool adds_;
  ops::PlainRows to_;
};

}  // namespace

void attention(Tape& tape, const AttentionRows& rows, const AttentionMask& mask, ops::Rows& out) {
  tape.result(out);
  float* lse = tape.workspace().take<float>(rows.heads * rows.q.count());
  const auto arguments = [](const AttentionRows& in, const AttentionMask& seen,
                            const ops::Rows& result, float* sums) {
    return attention::Args{
        .q = heads_of(in.q, in.heads),
        .k = heads_of(in.k, in.kv_heads),
        .v = heads_of(in.v, in.kv_heads),
        .out = heads_of(result, in.heads),
        .lse = Tensor::wrap(sums, {in.heads, in.q.count()}, {in.q.count(), 1}, DType::f32),
        .mask = seen.mask,
        .scale = in.scale,
        .plan = seen.plan};
  };
  attention::forward(arguments(rows, mask, out, lse));
  tape.record(out, [rows, mask, out, lse, arguments](Tape& t) {
    const bool first_q = !t.has_gradient(rows.q), first_k = !t.has_gradient(rows.k),
               first_v = !t.has_gradient(rows.v);
    const Part d_q(t, rows.q, first_q), d_k(t, rows.k, first_k), d_v(t, rows.v, first_v);
    const ops::PlainRows d_out = t.gradient(out);
    attention::backward(arguments(rows, mask, out, lse),
                        {.d_out = heads_of(d_out.values, out, d_out.stride, rows.heads),
                         .d_q = d_q.heads(rows.heads),
                         .d_k = d_k.heads(rows.kv_heads),
                         .d_v = d_v.heads(rows.kv_heads)});
  });
}

}  // namespace heddle::autograd
