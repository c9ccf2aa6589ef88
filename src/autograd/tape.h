// A tape: what was computed, in order, with the way back.
//
// An operation writes its result to rows of its own, which `rows` makes and `result` binds, and
// records a function that carries the result's gradient on to its inputs. Values stay in the
// workspace until the step is over; gradients are made when the way back first reaches them and
// their memory goes round as soon as it has passed. A tape belongs to one thread.
//
//   ops::Rows y = …; tape.result(y);          // fresh rows, unless y is fresh already
//   ops::activate(…, y);
//   tape.record(y, [x, y](Tape& t) {           // runs only if a gradient of y has been given
//     const ops::PlainRows d_y = t.gradient(y);
//     t.contribute(x, [&](ops::PlainRows d_x) { … overwrites d_x … });
//   });
#pragma once

#include <cstdint>
#include <map>
#include <new>
#include <optional>
#include <type_traits>
#include <vector>

#include "heddle/ops/rows.h"
#include "heddle/ops/workspace.h"

namespace heddle::autograd {

class Tape {
 public:
  /// Values and functions go to `values`, gradients to `gradients`, two different workspaces.
  Tape(ops::Workspace& values, ops::Workspace& gradients);
  ~Tape() = default;
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  ops::Workspace& workspace() { return values_; }

  /// New rows [count, width], which have a gradient.
  ops::Rows rows(int64_t count, int64_t width);

  /// Makes y the place of a new result: other rows of its shape if these have been written already.
  void result(ops::Rows& y);

  /// Records how the gradient of `result` goes on. `backward` is kept by copy and takes no memory
  /// with it.
  template <typename F>
  void record(const ops::Rows& result, const F& backward) {
    push(result.gradient(), true, backward);
  }

  /// The same of an operation that changed `result` in place: its gradient is then changed in
  /// place.
  template <typename F>
  void record_in_place(const ops::Rows& result, const F& backward) {
    push(result.gradient(), false, backward);
  }

  size_t size() const { return entries_.size(); }

  /// Runs and removes everything recorded since the tape had this size, last first.
  void run_back_to(size_t size);

  // For the way back.

  bool has_gradient(const ops::Rows& rows) const { return rows.gradient()->values != nullptr; }

  /// The gradient of rows, which begins as zeros.
  ops::PlainRows gradient(const ops::Rows& rows);

  /// Adds to the gradient of `rows`: make(PlainRows) writes the whole contribution. Rows that are
  /// on no tape get none, and make is not called.
  template <typename F>
  void contribute(const ops::Rows& rows, const F& make) {
    if (rows.gradient() == nullptr) return;
    if (!has_gradient(rows) && is_whole(rows)) {
      make(take(*rows.gradient()));
      return;
    }
    const int64_t floats = rows.count() * rows.width();
    float* part = take_floats(floats);
    make(ops::PlainRows{part, rows.width()});
    add({part, rows.width()}, rows);
    give_back(part, floats);
  }

  /// Adds `from` to the gradient of `to`.
  void add(ops::PlainRows from, const ops::Rows& to);

  /// Adds the gradient of `from`, which is done with, to that of `to`: hands it over where it can.
  void pass_on(const ops::Rows& from, const ops::Rows& to);

  /// Hands the gradient of `from`, none or some, to `to`, which has none.
  void move_gradient(const ops::Rows& from, const ops::Rows& to);

  /// Memory of one operation of the way back.
  float* take_floats(int64_t count);
  void give_back(float* floats, int64_t count);

 private:
  struct Entry {
    void (*run)(const void* function, Tape& tape);
    const void* function;
    ops::Gradient* result;
    bool releases;  // the result's gradient is done with
  };

  template <typename F>
  void push(ops::Gradient* result, bool releases, const F& backward) {
    static_assert(std::is_trivially_destructible_v<F>, "nothing runs when the tape goes");
    void* place = values_.take<std::byte>(sizeof(F));
    new (place) F(backward);
    result->produced = true;
    entries_.push_back(
        {[](const void* function, Tape& tape) { (*static_cast<const F*>(function))(tape); }, place,
         result, releases});
  }

  static bool is_whole(const ops::Rows& rows) {
    return rows.gradient_column() == 0 && rows.width() == rows.gradient()->width;
  }
  ops::PlainRows take(ops::Gradient& gradient);  // uninitialised
  void release(ops::Gradient& gradient);

  ops::Workspace& values_;
  ops::Workspace& gradients_;
  ops::Workspace::Scope values_scope_, gradients_scope_;
  std::vector<Entry> entries_;
  std::map<int64_t, std::vector<float*>> free_;  // by size
};

}  // namespace heddle::autograd
