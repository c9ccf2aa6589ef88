#include "heddle/ops/product.h"

#include <algorithm>

#include "heddle/base/threads.h"

namespace heddle::ops {

namespace {

/// Multiply-adds below which a product is done before another thread is awake.
constexpr int64_t kLeastShared = 1 << 18;

cpu::Finish moved(cpu::Finish finish, int64_t columns) {
  const auto move = [columns](auto*& pointer) {
    if (pointer != nullptr) pointer += columns;
  };
  move(finish.bias);
  move(finish.residual);
  move(finish.y);
  move(finish.codes);
  return finish;
}

}  // namespace

void ProductInput::multiply_shared(cpu::Span columns, const cpu::Finish& finish,
                                   Workspace& workspace) {
  ThreadPool* threads = workspace.threads();
  const int64_t count = columns.end - columns.first;
  if (threads == nullptr || threads->threads() == 1 ||
      count * w_.columns() * x_.count() < kLeastShared) {
    multiply(columns, finish, workspace);
    return;
  }
  if (codes_ != nullptr) prepare(workspace);
  // Several parts a thread, for one that is slower; whole blocks of tiles.
  constexpr int64_t kUnit = 8 * cpu::kTile;
  const int64_t parts = 4 * threads->threads();
  const int64_t part = (count / parts + kUnit) / kUnit * kUnit;
  threads->parallel_for((count + part - 1) / part, [&](int64_t i, int) {
    const int64_t first = i * part, end = std::min(first + part, count);
    multiply({columns.first + first, columns.first + end}, moved(finish, first), workspace);
  });
}

}  // namespace heddle::ops
