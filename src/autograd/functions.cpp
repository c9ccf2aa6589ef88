#include "heddle/autograd/functions.h"

#include <algorithm>
#include <optional>

#include "heddle/base/error.h"
#include "heddle/ops/cpu/kernels.h"
#include "heddle/ops/ssru.h"

namespace heddle::autograd {

namespace {

std::optional<ops::Rows> copy_of(const ops::Rows* rows) {
  return rows != nullptr ? std::optional(*rows) : std::nullopt;
}

const ops::Rows* pointer_to(const std::optional<ops::Rows>& rows) {
  return rows ? &*rows : nullptr;
}

}  // namespace

void linear(Tape& tape, const ops::Rows& x, const Linear& weights, ops::Activation activation,
            const ops::Rows* residual, ops::Rows& y) {
  ops::Rows input = x;
  const std::optional<ops::Rows> sum = copy_of(residual);
  tape.result(y);
  if (activation != ops::Activation::none) {
    HEDDLE_CHECK(!sum, "autograd: a residual behind an activation");
    ops::Rows before = tape.rows(y.count(), y.width());
    linear(tape, input, weights, ops::Activation::none, nullptr, before);
    activate(tape, before, activation, y);
    return;
  }
  ops::linear(input, weights.matrix, {.bias = weights.bias, .residual = pointer_to(sum)}, y,
              tape.workspace());
  tape.record(y, [input, sum, y, parts = weights.weights](Tape& t) {
    const bool wanted = input.gradient() != nullptr;
    const bool adds = wanted && t.has_gradient(input);
    if (wanted && !adds) {  // overwritten at once: no zeros needed
      t.contribute(input, [&](ops::PlainRows d_x) {
        ops::linear_backward(input, parts, {t.gradient(y), d_x, false}, t.workspace());
      });
    } else {
      const ops::PlainRows d_x = wanted ? t.gradient(input) : ops::PlainRows{nullptr, 0};
      ops::linear_backward(input, parts, {t.gradient(y), d_x, true}, t.workspace());
    }
    if (sum) t.pass_on(y, *sum);
  });
}

void norm(Tape& tape, const ops::Rows& x, const ops::Rows* residual, const Norm& norm,
          ops::Rows& y) {
  const ops::Rows input = x;
  const std::optional<ops::Rows> sum = copy_of(residual);
  tape.result(y);
  const auto forward = norm.subtracts_mean ? ops::layer_norm : ops::rms_norm;
  forward(input, pointer_to(sum), norm.norm, {}, y, tape.workspace());
  tape.record(y, [input, sum, norm, y](Tape& t) {
    const auto backward = norm.subtracts_mean ? ops::layer_norm_backward : ops::rms_norm_backward;
    const auto run = [&](ops::PlainRows d_sum) {
      backward(input, pointer_to(sum), norm.norm,
               {t.gradient(y), d_sum, norm.d_weight, norm.d_bias}, t.workspace());
      if (sum) t.add(d_sum, *sum);
    };
    if (input.gradient() != nullptr) {
      t.contribute(input, run);
    } else {
      const int64_t floats = input.count() * input.width();
      float* part = t.take_elements(floats);
      run({part, input.width()});
      t.give_back(part, floats);
    }
  });
}

void norm_heads(Tape& tape, const ops::Rows& x, const HeadNorms& norms, ops::Rows& y) {
  const ops::Rows input = x;
  tape.result(y);
  ops::norm_heads(input, norms.norms, y, tape.workspace());
  tape.record(y, [input, norms, y](Tape& t) {
    t.contribute(input, [&](ops::PlainRows d_x) {
      ops::norm_heads_backward(input, norms.norms, t.gradient(y), d_x, norms.d_weights,
                               t.workspace());
    });
  });
}

void activate(Tape& tape, const ops::Rows& x, ops::Activation activation, ops::Rows& y) {
  const ops::Rows input = x;
  tape.result(y);
  for (int64_t r = 0; r < input.count(); ++r) std::copy_n(input.row(r), input.width(), y.row(r));
  ops::activate(y, activation, tape.workspace());
  tape.record(y, [input, activation, y](Tape& t) {
    t.contribute(input, [&](ops::PlainRows d_x) {
      ops::activate_backward(input, activation, t.gradient(y), d_x, t.workspace());
    });
  });
}

void glu(Tape& tape, const ops::Rows& x, ops::Activation activation, ops::Rows& y) {
  const ops::Rows input = x;
  tape.result(y);
  ops::glu(input, activation, {}, y, tape.workspace());
  tape.record(y, [input, activation, y](Tape& t) {
    t.contribute(input, [&](ops::PlainRows d_x) {
      ops::glu_backward(input, activation, t.gradient(y), d_x, t.workspace());
    });
  });
}

void add(Tape& tape, const ops::Rows& y, ops::Rows& x) {
  const ops::Rows first = x, second = y;
  tape.result(x);
  const auto add_row = tape.workspace().kernels().backward.add;
  for (int64_t r = 0; r < x.count(); ++r) {
    std::copy_n(first.row(r), x.width(), x.row(r));
    add_row(second.row(r), x.width(), 1, x.row(r));
  }
  tape.record(x, [first, second, x](Tape& t) {
    t.add(t.gradient(x), second);
    t.pass_on(x, first);
  });
}

void drop(Tape& tape, const ops::Dropout& dropout, ops::Rows& x) {
  ops::Rows input = x;
  tape.result(x);
  ops::drop(dropout, {input.row(0), input.stride()}, x.count(), x.width(), {x.row(0), x.stride()});
  tape.record(x, [input, dropout, y = x](Tape& t) {
    t.contribute(input, [&](ops::PlainRows d_x) {
      ops::drop(dropout, t.gradient(y), y.count(), y.width(), d_x);
    });
  });
}

void ssru_scan(Tape& tape, const ops::Rows& gates, std::span<const int32_t> offsets, ops::Rows& y) {
  const ops::Rows input = gates;
  tape.result(y);
  ops::ssru_scan(input, offsets, nullptr, y, tape.workspace());
  tape.record(y, [input, offsets, y](Tape& t) {
    t.contribute(input, [&](ops::PlainRows d_gates) {
      ops::ssru_scan_backward(input, offsets, t.gradient(y), d_gates, t.workspace());
    });
  });
}

void embed(Tape& tape, std::span<const int32_t> tokens, const Embedding& embedding, ops::Rows& y) {
  tape.result(y);
  ops::embed(tokens, embedding.table, embedding.scale, embedding.positions, {}, y,
             tape.workspace());
  tape.record(y, [tokens, scale = embedding.scale, positions = embedding.positions,
                  gradients = embedding.gradients, y](Tape& t) {
    ops::embed_backward(tokens, scale, positions, y.width(), t.gradient(y), gradients,
                        t.workspace());
  });
}

}  // namespace heddle::autograd
