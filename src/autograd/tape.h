// The tape of a run on the host.
#pragma once

#include <cstdint>

#include "heddle/autograd/basic_tape.h"
#include "heddle/ops/rows.h"
#include "heddle/ops/workspace.h"

namespace heddle::autograd {

struct HostMemory {
  using Rows = ops::Rows;
  using Plain = ops::PlainRows;
  using Gradient = ops::Gradient;
  using Element = float;

  HostMemory(ops::Workspace& of_values, ops::Workspace& of_gradients)
      : functions(of_values), values(of_values), gradients(of_gradients) {}

  static void zero(float* floats, int64_t count);
  void add(ops::PlainRows from, ops::PlainRows to, int64_t count, int64_t width) const;

  ops::Workspace &functions, &values, &gradients;
};

/// Made of two different workspaces: for values and functions, and for gradients.
using Tape = BasicTape<HostMemory>;

}  // namespace heddle::autograd
