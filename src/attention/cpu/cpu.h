// The CPU rows of the table: f32, and f16 / bf16 widened tile by tile.
//
// Work is shared out as (head, query tile) or (key/value head, key tile), the longest first; each
// item is computed by one thread in a fixed order, so results do not depend on the number of
// threads.
#pragma once

#include "heddle/attention/cpu/tables.h"
#include "heddle/attention/table.h"

namespace heddle::attention::cpu {

bool applies(const Args& args);  ///< whatever the instruction set
void forward(const Args& args, const Kernels& kernels);
void backward(const Args& args, const Gradients& gradients, const Kernels& kernels);

/// For up to 16 query rows and many keys: the keys of a head are shared out too, and read once for
/// all query heads of their group. Parts are cut by the lengths alone and joined in order.
inline constexpr int64_t kMaxDecodeRows = 16;
void decode(const Args& args, const Kernels& kernels);

struct DecodeRow {
  static bool applies(const Args& args, Pass pass) {
    return pass == Pass::forward && args.q.dim(0) <= kMaxDecodeRows && cpu::applies(args);
  }
  static void forward(const Args& args) { decode(args, best_kernels()); }
};

/// A row of the table: the drivers with one instruction set.
template <const Kernels* (*kKernels)()>
struct Row {
  static bool applies(const Args& args, Pass) {
    return kKernels() != nullptr && cpu::applies(args);
  }
  static void forward(const Args& args) { cpu::forward(args, *kKernels()); }
  static void backward(const Args& args, const Gradients& gradients) {
    cpu::backward(args, gradients, *kKernels());
  }
};

}  // namespace heddle::attention::cpu
