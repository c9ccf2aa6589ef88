// A tape: what was computed, in order, with the way back. `Memory` says what rows are made of and
// how they are added: the host's (tape.h) or a GPU's (cuda/tape.h).
//
// An operation writes its result to rows of its own, which `rows` makes and `result` binds, and
// records a function that carries the result's gradient on to its inputs. Values stay in the
// workspace until the step is over; gradients are made when the way back first reaches them and
// their memory goes round as soon as it has passed. A tape belongs to one thread.
//
//   Rows y = …; tape.result(y);                // fresh rows, unless y is fresh already
//   ops::activate(…, y);
//   tape.record(y, [x, y](auto& t) {           // runs only if a gradient of y has been given
//     const auto d_y = t.gradient(y);
//     t.contribute(x, [&](auto d_x) { … overwrites d_x … });
//   });
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/ops/workspace.h"

namespace heddle::autograd {

/// Memory has the types Rows, Plain (rows of a gradient and nothing else), Gradient and Element;
/// the workspaces `functions` (host), `values` and `gradients`, of which the first two may be one;
/// zero(Element*, count); add(Plain from, Plain to, count, width).
template <typename Memory>
class BasicTape {
 public:
  using Rows = typename Memory::Rows;
  using Plain = typename Memory::Plain;
  using Gradient = typename Memory::Gradient;
  using Element = typename Memory::Element;

  template <typename... Args>
  explicit BasicTape(Args&... args)
      : memory_(args...),
        functions_scope_(memory_.functions),
        values_scope_(memory_.values),
        gradients_scope_(memory_.gradients) {
    HEDDLE_CHECK(&memory_.values != &memory_.gradients,
                 "tape: one workspace for values and gradients; expected two");
  }
  ~BasicTape() = default;
  BasicTape(const BasicTape&) = delete;
  BasicTape& operator=(const BasicTape&) = delete;

  ops::Workspace& workspace() { return memory_.values; }

  /// New rows [count, width], which have a gradient.
  Rows rows(int64_t count, int64_t width) {
    auto* gradient = memory_.functions.template take<Gradient>(1);
    *gradient = {.values = nullptr, .count = count, .width = width, .produced = false};
    return {memory_.values.template take<Element>(count * width), count, width, gradient};
  }

  /// Makes y the place of a new result: other rows of its shape if these have been written already.
  void result(Rows& y) {
    if (y.gradient() == nullptr || y.gradient()->produced) y = rows(y.count(), y.width());
  }

  /// Records how the gradient of `result` goes on. `backward` is kept by copy and takes no memory
  /// with it.
  template <typename F>
  void record(const Rows& result, const F& backward) {
    push(result.gradient(), true, backward);
  }

  /// The same of an operation that changed `result` in place: its gradient is then changed in
  /// place.
  template <typename F>
  void record_in_place(const Rows& result, const F& backward) {
    push(result.gradient(), false, backward);
  }

  size_t size() const { return entries_.size(); }

  /// Runs and removes everything recorded since the tape had this size, last first.
  void run_back_to(size_t size) {
    while (entries_.size() > size) {
      const Entry entry = entries_.back();
      entries_.pop_back();
      if (entry.result->values == nullptr) continue;  // nothing depends on it
      entry.run(entry.function, *this);
      if (entry.releases) release(*entry.result);
    }
  }

  // For the way back.

  bool has_gradient(const Rows& rows) const { return rows.gradient()->values != nullptr; }

  /// The gradient of rows, which begins as zeros.
  Plain gradient(const Rows& rows) {
    Gradient& gradient = *rows.gradient();
    if constexpr (requires { gradient.summed; }) gradient.summed = false;  // it may be added to
    if (gradient.values == nullptr) {
      take(gradient);
      memory_.zero(gradient.values, gradient.count * gradient.width);
    }
    return {gradient.values + rows.gradient_column(), gradient.width};
  }

  /// Makes the gradient that rows are columns of, uninitialised.
  void open_gradient(const Rows& rows) { take(*rows.gradient()); }

  /// The gradient of whole rows that have none, uninitialised.
  Plain fresh_gradient(const Rows& rows) {
    HEDDLE_CHECK(!has_gradient(rows) && is_whole(rows), "tape: a gradient is there");
    return take(*rows.gradient());
  }

  /// Adds to the gradient of `rows`: make(Plain) writes the whole contribution. Rows that are on no
  /// tape get none, and make is not called.
  template <typename F>
  void contribute(const Rows& rows, const F& make) {
    if (rows.gradient() == nullptr) return;
    if (!has_gradient(rows) && is_whole(rows)) {
      make(take(*rows.gradient()));
      return;
    }
    const int64_t count = rows.count() * rows.width();
    Element* part = take_elements(count);
    make(Plain{part, rows.width()});
    add({part, rows.width()}, rows);
    give_back(part, count);
  }

  /// Adds `from` to the gradient of `to`.
  void add(Plain from, const Rows& to) {
    if (to.gradient() == nullptr) return;
    memory_.add(from, gradient(to), to.count(), to.width());
  }

  /// Adds the gradient of `from`, which is done with, to that of `to`: hands it over where it can.
  void pass_on(const Rows& from, const Rows& to) {
    if (to.gradient() == nullptr) return;
    if (!has_gradient(to) && is_whole(to) && is_whole(from)) {
      move_gradient(from, to);
    } else {
      add(gradient(from), to);
    }
  }

  /// Hands the gradient of `from`, none or some, to `to`, which has none.
  void move_gradient(const Rows& from, const Rows& to) {
    HEDDLE_CHECK(!has_gradient(to) && is_whole(from) && is_whole(to), "tape: a gradient is there");
    to.gradient()->values = std::exchange(from.gradient()->values, nullptr);
  }

  /// Memory of one operation of the way back.
  Element* take_elements(int64_t count) {
    std::vector<Element*>& free = free_[count];
    if (free.empty()) return memory_.gradients.template take<Element>(count);
    Element* elements = free.back();
    free.pop_back();
    return elements;
  }
  void give_back(Element* elements, int64_t count) { free_[count].push_back(elements); }

  /// Whether the rows are all columns of what their gradient belongs to.
  static bool is_whole(const Rows& rows) {
    return rows.gradient_column() == 0 && rows.width() == rows.gradient()->width;
  }

 private:
  struct Entry {
    void (*run)(const void* function, BasicTape& tape);
    const void* function;
    Gradient* result;
    bool releases;  // the result's gradient is done with
  };

  template <typename F>
  void push(Gradient* result, bool releases, const F& backward) {
    static_assert(std::is_trivially_destructible_v<F>, "nothing runs when the tape goes");
    void* place = memory_.functions.template take<std::byte>(sizeof(F));
    new (place) F(backward);
    result->produced = true;
    entries_.push_back(
        {[](const void* function, BasicTape& tape) { (*static_cast<const F*>(function))(tape); },
         place, result, releases});
  }

  Plain take(Gradient& gradient) {  // uninitialised
    gradient.values = take_elements(gradient.count * gradient.width);
    return {gradient.values, gradient.width};
  }

  void release(Gradient& gradient) {
    if (gradient.values == nullptr) return;
    give_back(std::exchange(gradient.values, nullptr), gradient.count * gradient.width);
  }

  Memory memory_;
  ops::Workspace::Scope functions_scope_, values_scope_, gradients_scope_;
  std::vector<Entry> entries_;
  std::map<int64_t, std::vector<Element*>> free_;  // by size
};

}  // namespace heddle::autograd
