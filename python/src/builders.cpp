// Builders, imports and algebra of masks in Python: the names and the meaning of mask/builders.h
// and mask/algebra.h, with sequences of plain numbers and tuples for the structures.
#include "heddle/mask/builders.h"

#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <utility>
#include <vector>

#include "arrays.h"
#include "bind.h"
#include "heddle/mask/algebra.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace heddle::python {

namespace {

using Total = std::optional<int64_t>;
using Pairs = std::vector<std::pair<int64_t, int64_t>>;

/// Pairs of numbers as the structures of builders.h.
template <typename Struct>
std::vector<Struct> structs(const Pairs& pairs) {
  std::vector<Struct> list;
  for (const auto& [first, second] : pairs) list.push_back({first, second});
  return list;
}

ColumnMask shared_question(const std::vector<std::pair<int64_t, masks::Lengths>>& groups,
                           Total total) {
  std::vector<masks::QuestionGroup> list;
  for (const auto& [question, answers] : groups) list.push_back({question, answers});
  return masks::shared_question(list, total);
}

nb::ndarray<nb::numpy, int32_t> tree_positions(const Pairs& nodes) {
  const std::vector<int32_t> positions = masks::tree_positions(structs<masks::TreeNode>(nodes));
  auto array = new_array<int32_t>({positions.size()});
  std::copy(positions.begin(), positions.end(), array.data());
  return array;
}

void bind_plain(nb::module_& m) {
  m.def("full", &masks::full, "query_length"_a, "key_length"_a, "Every row sees every key.");
  m.def("valid_rows", &masks::valid_rows, "query_length"_a, "key_length"_a, "valid"_a,
        "Every key is seen by the first `valid` rows only; the rest are padding and see nothing.");
  m.def("causal", &masks::causal, "length"_a, "Row i sees keys j <= i.");
  m.def("causal_with_offset", &masks::causal_with_offset, "query_length"_a, "key_length"_a,
        "offset"_a,
        "Row i sees keys j <= i + offset. With offset = key_length - query_length the last row\n"
        "sees every key: a cache of `offset` keys before the new rows.");
  m.def("sliding_window", &masks::sliding_window, "length"_a, "window"_a,
        "Causal; row i sees the last `window` keys, itself included. (flashmask_attention's\n"
        "window_size counts without itself: it sees window_size + 1.)");
  m.def("local_window", &masks::local_window, "length"_a, "left"_a, "right"_a,
        "Row i sees keys i - left … i + right, both included.");
  m.def("global_sliding", &masks::global_sliding, "length"_a, "globals"_a, "left"_a, "right"_a,
        "The first `globals` tokens see all and are seen by all; row i of the others also sees\n"
        "keys i - left … i + right.");
  m.def("image_prefix_window", &masks::image_prefix_window, "length"_a, "image"_a, "window"_a,
        "The first `image` tokens are seen by every row; text tokens are causal with a window.");
  m.def("prefix_lm_causal", &masks::prefix_lm_causal, "length"_a, "prefix"_a,
        "Causal, but the first `prefix` keys are seen by every row.");
  m.def("random_eviction", &masks::random_eviction, "length"_a, "budget"_a, "heads"_a, "seed"_a,
        "Causal under a key/value cache of `budget` tokens: from row `budget` on, each new token\n"
        "evicts one older column for good, drawn uniformly and independently a head.");
}

void bind_packed(nb::module_& m) {
  m.def("document", &masks::document, "lengths"_a, "total"_a = nb::none(),
        "Packed documents, each seen by itself alone. `total`, when given, must be the sum.");
  m.def("causal_document", &masks::causal_document, "lengths"_a, "total"_a = nb::none(),
        "Packed documents, each causal and seen by itself alone.");
  m.def("cross_document", &masks::cross_document, "query_lengths"_a, "key_lengths"_a,
        "Cross-attention: queries of document d see keys of document d. A length may be 0.");
  m.def("shared_question", &shared_question, "groups"_a, "total"_a = nb::none(),
        "Groups (question, [answer, …]) of lengths: answers see the question and themselves,\n"
        "causally, not each other.");
  m.def("causal_blockwise", &masks::causal_blockwise, "lengths"_a, "total"_a = nb::none(),
        "Causal; each document but the last sees itself alone, the last sees everything.");
  m.def(
      "prefix_lm_document",
      [](const Pairs& documents, Total total) {
        return masks::prefix_lm_document(structs<masks::PrefixDocument>(documents), total);
      },
      "documents"_a, "total"_a = nb::none(),
      "Documents (length, prefix): the prefix is seen by all of the document's rows, the rest is\n"
      "causal.");
  m.def(
      "qk_sparse",
      [](int64_t length, const Pairs& dropped) {
        return masks::qk_sparse(length, structs<masks::TokenRange>(dropped));
      },
      "length"_a, "dropped"_a,
      "Causal, but the keys of each dropped part (begin, end) are not seen from inside it.");
  m.def(
      "hash_sparse",
      [](int64_t query_length, const nb::object& lts, const nb::object& ute) {
        return masks::hash_sparse(query_length, numbers_of("lts", lts), numbers_of("ute", ute));
      },
      "query_length"_a, "lts"_a, "ute"_a,
      nb::sig("def hash_sparse(query_length: int, lts: Sequence[int] | NDArray, "
              "ute: Sequence[int] | NDArray) -> ColumnMask"),
      "Tokens sorted by hash bucket: key j is seen by rows ute[j] … lts[j] - 1; neither may fall\n"
      "from key to key.");
  m.def(
      "hash_buckets", &masks::hash_buckets, "sizes"_a, "causal"_a,
      "Key bucket b is seen by query bucket b; with `causal`, row i sees keys j <= i of its own.");
  m.def(
      "prefix_tree",
      [](const Pairs& nodes, Total total) {
        return masks::prefix_tree(structs<masks::TreeNode>(nodes), total);
      },
      "nodes"_a, "total"_a = nb::none(),
      "A tree of token runs (parent, length) in depth-first order, parent -1 for a root: each\n"
      "token sees its ancestors and itself.");
  m.def("tree_positions", &tree_positions, "nodes"_a,
        "Depth of each token of the tree, its position for embeddings. int32 [T]");
}

}  // namespace

void bind_builders(nb::module_& module) {
  bind_plain(module);
  bind_packed(module);
  module.def(
      "from_startend_row_indices",
      [](const ReadArray& indices, int64_t query_length, bool causal) {
        return masks::from_startend_row_indices(tensor_of("startend_row_indices", indices),
                                                query_length, causal);
      },
      "indices"_a.noconvert(), "query_length"_a, "causal"_a,
      "FlashMask's tensor of one batch row, int32 [mask_heads, Sk, n]. Columns with causal:\n"
      "LTS, or LTS, LTE; without: LTS, UTE, or LTS, LTE, UTS, UTE. All are masked rows,\n"
      "absolute and half-open. Causal is aligned at the bottom right.");
  module.def(
      "from_dense",
      [](const ReadArray& dense) {
        return masks::from_dense(tensor_of("from_dense: the picture", dense));
      },
      "dense"_a.noconvert(),
      "From a bool or uint8 picture [Tq, Tk] or [heads, Tq, Tk], nonzero = may look.\n"
      "ValueError names the first column that needs more than two masked intervals.");
  module.def("intersect", &masks::intersect, "a"_a, "b"_a, nb::call_guard<nb::gil_scoped_release>(),
             "What both masks allow; the same as a & b.");
  module.def(
      "select_rows",
      [](const ColumnMask& mask, const nb::object& rows) {
        return masks::select_rows(mask, numbers_of("rows", rows));
      },
      "mask"_a, "rows"_a,
      nb::sig("def select_rows(mask: ColumnMask, rows: Sequence[int] | NDArray) -> "
              "ColumnMask"),
      "The mask of some of the query rows; the same as mask.select_rows(rows).");
}

}  // namespace heddle::python
