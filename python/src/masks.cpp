// ColumnMask and MaskPlan in Python.
#include "masks.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bind.h"
#include "heddle/mask/algebra.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace heddle::python {

namespace {

using Bound = nb::ndarray<nb::numpy, const int32_t, nb::ndim<2>>;
using DenseMask = nb::ndarray<nb::numpy, bool, nb::ndim<3>>;
using Run = std::tuple<int32_t, int32_t, bool>;

/// A dense mask above this is a mistake more often than a wish: 2 GiB.
constexpr int64_t kMaxDenseBytes = int64_t{1} << 31;

/// A bound as a read-only view of the mask's own memory, which the array keeps alive.
template <const int32_t* MaskView::*bound>
std::optional<Bound> bound_array(nb::handle_t<ColumnMask> self) {
  const MaskView view = nb::cast<const ColumnMask&>(self).view();
  if (view.*bound == nullptr) return {};
  return Bound(view.*bound, {static_cast<size_t>(view.heads), static_cast<size_t>(view.key_length)},
               self);
}

/// Optional numbers: None means that the bound masks nothing.
std::vector<int32_t> bound_of(std::string_view name, nb::handle source) {
  return source.is_none() ? std::vector<int32_t>() : numbers_of(name, source);
}

ColumnMask make_mask(int64_t query_length, int64_t key_length, int64_t heads, bool causal,
                     int64_t offset, const nb::object& lts, const nb::object& lte,
                     const nb::object& uts, const nb::object& ute) {
  return ColumnMask({.query_length = query_length,
                     .key_length = key_length,
                     .heads = heads,
                     .causal = causal,
                     .offset = offset,
                     .lts = bound_of("lts", lts),
                     .lte = bound_of("lte", lte),
                     .uts = bound_of("uts", uts),
                     .ute = bound_of("ute", ute)});
}

DenseMask to_dense(const ColumnMask& mask) {
  const MaskView view = mask.view();
  const double bytes = double{1} * view.heads * view.query_length * view.key_length;
  HEDDLE_CHECK(bytes <= kMaxDenseBytes, "to_dense: ", view.heads, " × ", view.query_length, " × ",
               view.key_length, " needs ", bytes / (int64_t{1} << 30),
               " GiB; expected at most 2. Hint: take some rows with select_rows, or ask "
               "visible_ranges(head, row)");
  auto dense =
      new_array<bool>({static_cast<size_t>(view.heads), static_cast<size_t>(view.query_length),
                       static_cast<size_t>(view.key_length)});
  bool* at = static_cast<bool*>(dense.data());
  const nb::gil_scoped_release release;
  for (int32_t head = 0; head < view.heads; ++head) {
    for (int32_t row = 0; row < view.query_length; ++row) {
      for (int32_t key = 0; key < view.key_length; ++key) {
        *at++ = allowed(view, head, row, key);
      }
    }
  }
  return DenseMask(dense);
}

std::string describe(const ColumnMask& mask) {
  return str("<heddle.ColumnMask ", mask.query_length(), " × ", mask.key_length(),
             mask.heads() > 1 ? str(", ", mask.heads(), " heads") : "",
             mask.causal() ? ", causal" : "",
             mask.causal() && mask.offset() != 0 ? str(" with offset ", mask.offset()) : "",
             ", density ", mask.density(), ", ", mask.bytes(), " bytes>");
}

std::vector<Run> listed(const TileRuns& runs) {
  std::vector<Run> list;
  for (const TileRun run : runs) {
    list.emplace_back(run.first, static_cast<int32_t>(run.count), run.full != 0);
  }
  return list;
}

nb::tuple reduce(nb::handle_t<ColumnMask> self) {
  const ColumnMask& mask = nb::cast<const ColumnMask&>(self);
  return nb::make_tuple(
      self.type(), nb::make_tuple(mask.query_length(), mask.key_length(), mask.heads(),
                                  mask.causal(), mask.offset(), self.attr("lts"), self.attr("lte"),
                                  self.attr("uts"), self.attr("ute")));
}

void bind_plan(nb::module_& module) {
  nb::class_<PlannedMask>(
      module, "MaskPlan", nb::is_weak_referenceable(),
      "The tiles of a mask that a kernel visits, for one tile shape; made by ColumnMask.plan.\n"
      "Skipped: no pair in the tile may look. Full: every pair may. Partial: the rest.\n"
      "flashmask_attention takes it in place of its mask, and uses it where the tiles are the\n"
      "kernel's own, rather than make a plan in each call.")
      .def_prop_ro(
          "mask", [](const PlannedMask& p) -> const ColumnMask& { return p.mask; },
          "The ColumnMask that this plan was made from.")
      .def_prop_ro(
          "tile",
          [](const PlannedMask& p) { return std::pair(p.plan.tile().rows, p.plan.tile().keys); },
          "(rows, keys) of one tile.")
      .def_prop_ro(
          "heads", [](const PlannedMask& p) { return p.plan.heads(); },
          "1, or one a key/value head.")
      .def_prop_ro(
          "query_tiles", [](const PlannedMask& p) { return p.plan.query_tiles(); },
          "Tiles along the rows.")
      .def_prop_ro(
          "key_tiles", [](const PlannedMask& p) { return p.plan.key_tiles(); },
          "Tiles along the keys.")
      .def_prop_ro(
          "skipped", [](const PlannedMask& p) { return p.plan.counts().skipped; },
          "Skipped tiles over all heads.")
      .def_prop_ro(
          "partial", [](const PlannedMask& p) { return p.plan.counts().partial; },
          "Partial tiles over all heads.")
      .def_prop_ro(
          "full", [](const PlannedMask& p) { return p.plan.counts().full; },
          "Full tiles over all heads.")
      .def_prop_ro(
          "nbytes", [](const PlannedMask& p) { return p.plan.bytes(); },
          "Memory of the plan in bytes.")
      .def(
          "runs_of_query_tile",
          [](const PlannedMask& p, int32_t head, int32_t tile) {
            return listed(p.plan.runs_of_query_tile(head, tile));
          },
          "head"_a, "tile"_a,
          "Live key tiles of one query tile as runs (first, count, full), the last run first.")
      .def(
          "runs_of_key_tile",
          [](const PlannedMask& p, int32_t head, int32_t tile) {
            return listed(p.plan.runs_of_key_tile(head, tile));
          },
          "head"_a, "tile"_a,
          "Live query tiles of one key tile as runs (first, count, full), rising.")
      .def("__repr__", [](const PlannedMask& p) {
        const TileCounts counts = p.plan.counts();
        return str("<heddle.MaskPlan of ", p.plan.tile().rows, " × ", p.plan.tile().keys,
                   " tiles: ", counts.skipped, " skipped, ", counts.partial, " partial, ",
                   counts.full, " full; ", p.plan.bytes(), " bytes>");
      });
}

void bind_algebra(nb::class_<ColumnMask>& type) {
  type.def("__and__", &masks::intersect, "other"_a, nb::call_guard<nb::gil_scoped_release>(),
           "What both masks allow. ValueError where a column would need more than two intervals.")
      .def(
          "select_rows",
          [](const ColumnMask& mask, const nb::object& rows) {
            return masks::select_rows(mask, numbers_of("rows", rows));
          },
          "rows"_a, nb::sig("def select_rows(self, rows: Sequence[int] | NDArray) -> ColumnMask"),
          "The mask of some of the query rows, kept in order: `rows` rises strictly. Context\n"
          "parallelism needs nothing else: each rank takes its rows.")
      .def(
          "plan",
          [](const ColumnMask& mask, int32_t tile_rows, int32_t tile_keys) {
            const nb::gil_scoped_release release;
            return PlannedMask{mask, MaskPlan(mask, {tile_rows, tile_keys})};
          },
          "tile_rows"_a = 64, "tile_keys"_a = 64,
          "The tiles that a kernel of this tile shape visits, as a MaskPlan; the CPU kernels have\n"
          "64 × 64.");
}

/// The constructor, and what it was given.
void bind_parts(nb::class_<ColumnMask>& type) {
  type.def(
          "__init__",
          [](ColumnMask* at, int64_t query_length, int64_t key_length, int64_t heads, bool causal,
             int64_t offset, const nb::object& lts, const nb::object& lte, const nb::object& uts,
             const nb::object& ute) {
            new (at) ColumnMask(
                make_mask(query_length, key_length, heads, causal, offset, lts, lte, uts, ute));
          },
          "query_length"_a, "key_length"_a, "heads"_a = 1, "causal"_a = false, "offset"_a = 0,
          "lts"_a = nb::none(), "lte"_a = nb::none(), "uts"_a = nb::none(), "ute"_a = nb::none(),
          nb::sig("def __init__(self, query_length: int, key_length: int, heads: int = 1, "
                  "causal: bool = False, offset: int = 0, "
                  "lts: Sequence[int] | NDArray | None = None, "
                  "lte: Sequence[int] | NDArray | None = None, "
                  "uts: Sequence[int] | NDArray | None = None, "
                  "ute: Sequence[int] | NDArray | None = None) -> None"),
          "Bounds hold heads × key_length row numbers, 0 <= begin <= end <= query_length, or are\n"
          "None for their default: lts and lte query_length, uts and ute 0. ValueError otherwise.")
      .def_prop_ro("query_length", &ColumnMask::query_length, "Rows, Tq.")
      .def_prop_ro("key_length", &ColumnMask::key_length, "Columns, Tk.")
      .def_prop_ro("heads", &ColumnMask::heads, "1, or one set of bounds a key/value head.")
      .def_prop_ro("causal", &ColumnMask::causal, "Whether the diagonal hides later keys.")
      .def_prop_ro("offset", &ColumnMask::offset, "Causal: row i sees keys j <= i + offset.")
      .def_prop_ro("lts", &bound_array<&MaskView::lts>,
                   "First interval's begin, int32 [heads, Tk] without a copy; None: Tq.")
      .def_prop_ro("lte", &bound_array<&MaskView::lte>,
                   "First interval's end, int32 [heads, Tk] without a copy; None: Tq.")
      .def_prop_ro("uts", &bound_array<&MaskView::uts>,
                   "Second interval's begin, int32 [heads, Tk] without a copy; None: 0.")
      .def_prop_ro("ute", &bound_array<&MaskView::ute>,
                   "Second interval's end, int32 [heads, Tk] without a copy; None: 0.")
      .def_prop_ro("nbytes", &ColumnMask::bytes, "Memory of the bounds in bytes.");
}

/// What follows from the parts.
void bind_questions(nb::class_<ColumnMask>& type) {
  type.def_prop_ro("density", &ColumnMask::density, "Visible pairs ÷ all pairs, 0 … 1.")
      .def_prop_ro("visible_pairs", &ColumnMask::visible_pairs,
                   "Pairs (row, key) that may look, over all heads of the mask.")
      .def("allowed", &ColumnMask::allowed, "head"_a, "row"_a, "key"_a,
           "May this row look at this key?")
      .def(
          "visible_ranges",
          [](const ColumnMask& mask, int32_t head, int32_t row) {
            std::vector<std::pair<int32_t, int32_t>> ranges;
            for (const KeyRange& range : mask.visible_ranges(head, row)) {
              ranges.emplace_back(range.begin, range.end);
            }
            return ranges;
          },
          "head"_a, "row"_a, "Ranges (begin, end) of keys that the row sees, rising. O(Tk).")
      .def("to_dense", &to_dense,
           "A new bool array [heads, Tq, Tk], True = may look. ValueError above 2 GiB.");
}

}  // namespace

void bind_masks(nb::module_& module) {
  nb::class_<ColumnMask> type(
      module, "ColumnMask", nb::is_weak_referenceable(),
      "Which keys each query row may look at, in O(key_length) memory: per key column up to two\n"
      "half-open intervals of rows that may NOT look. Row i may look at key j unless\n\n"
      "    lts[j] <= i < lte[j]  or  uts[j] <= i < ute[j]  or  causal and i < j - offset.\n\n"
      "Builders for the usual kinds are in heddle.masks. A mask never changes.");
  type.def("__reduce__", &reduce).def("__repr__", &describe);
  bind_parts(type);
  bind_questions(type);
  bind_algebra(type);
  bind_plan(module);
}

}  // namespace heddle::python
