#include "heddle/autograd/low_rank.h"

namespace heddle::autograd {

void add_linear(Tape* tape, const ops::Rows& x, const Linear& weights, ops::Rows& y,
                ops::Workspace& workspace) {
  ops::Rows input = x;
  ops::linear(input, weights.matrix, {.residual = &y}, y, workspace);
  if (tape == nullptr) return;
  tape->record_in_place(y, [input, y, parts = weights.weights](Tape& t) {
    t.contribute(input, [&](ops::PlainRows d_x) {
      ops::linear_backward(input, parts, {t.gradient(y), d_x, false}, t.workspace());
    });
  });
}

void add_decomposed(Tape* tape, const ops::Rows& x, const ops::Rows& moved,
                    const Decomposed& factors, ops::Rows& y) {
  const float* gain = factors.gain;
  for (int64_t r = 0; r < y.count(); ++r) {
    const float *plain = x.row(r), *more = moved.row(r);
    float* to = y.row(r);
    for (int64_t n = 0; n < y.width(); ++n) to[n] += (gain[n] - 1) * plain[n] + gain[n] * more[n];
  }
  if (tape == nullptr) return;
  tape->record_in_place(y, [x, moved, factors, y](Tape& t) {
    const ops::PlainRows d_y = t.gradient(y);
    const auto times = [&](float less, ops::PlainRows to) {
      for (int64_t r = 0; r < y.count(); ++r) {
        const float* from = d_y.row(r);
        float* d = to.row(r);
        for (int64_t n = 0; n < y.width(); ++n) d[n] = (factors.gain[n] - less) * from[n];
      }
    };
    t.contribute(x, [&](ops::PlainRows d_x) { times(1, d_x); });
    t.contribute(moved, [&](ops::PlainRows d_moved) { times(0, d_moved); });
    if (factors.d_magnitude == nullptr) return;
    for (int64_t r = 0; r < y.count(); ++r) {
      const float *from = d_y.row(r), *plain = x.row(r), *more = moved.row(r);
      for (int64_t n = 0; n < y.width(); ++n) {
        factors.d_magnitude[n] += from[n] * (plain[n] + more[n]) * factors.inverse_length[n];
      }
    }
  });
}

}  // namespace heddle::autograd
