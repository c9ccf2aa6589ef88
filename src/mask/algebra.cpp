#include "heddle/mask/algebra.h"

#include <algorithm>
#include <vector>

#include "heddle/mask/intervals.h"

namespace heddle::masks {

namespace {

/// The masked intervals of a column, causal rows left out.
void append_intervals(const MaskColumn& column, std::vector<RowInterval>& intervals) {
  intervals.push_back({column.lts, column.lte});
  intervals.push_back({column.uts, column.ute});
}

/// Column n of the indices as one bound, [heads, Sk].
std::vector<int32_t> bound_of(const Tensor& indices, int64_t n) {
  const int64_t heads = indices.dim(0), keys = indices.dim(1);
  const int32_t* data = indices.data<int32_t>();
  std::vector<int32_t> bound;
  bound.reserve(static_cast<size_t>(heads * keys));
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t key = 0; key < keys; ++key) {
      bound.push_back(
          data[head * indices.stride(0) + key * indices.stride(1) + n * indices.stride(2)]);
    }
  }
  return bound;
}

/// A dense picture with its axes named: [heads, Tq, Tk].
struct Dense {
  const uint8_t* data;
  int64_t heads, rows, keys;
  int64_t head_stride, row_stride, key_stride;

  bool operator()(int64_t head, int64_t row, int64_t key) const {
    return data[head * head_stride + row * row_stride + key * key_stride] != 0;
  }

  /// Is everything beyond the bottom-right diagonal masked?
  bool is_causal() const {
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t key = std::max<int64_t>(row + keys - rows + 1, 0); key < keys; ++key) {
          if ((*this)(head, row, key)) return false;
        }
      }
    }
    return true;
  }
};

}  // namespace

ColumnMask from_startend_row_indices(const Tensor& indices, int64_t query_length, bool causal) {
  HEDDLE_CHECK(indices.rank() == 3 && indices.dtype() == DType::i32, "startend_row_indices: found ",
               name_of(indices.dtype()), " ", indices.shape().text(),
               "; expected i32 [mask_heads, Sk, n]");
  const int64_t n = indices.dim(2);
  HEDDLE_CHECK(causal ? n == 1 || n == 2 : n == 2 || n == 4, "startend_row_indices: found ", n,
               " columns; expected ", causal ? "1 or 2 with causal" : "2 or 4 without causal");
  MaskParts parts{.query_length = query_length,
                  .key_length = indices.dim(1),
                  .heads = indices.dim(0),
                  .causal = causal,
                  .offset = indices.dim(1) - query_length};
  // Before anything of their size is made.
  HEDDLE_CHECK(parts.key_length >= 1 && parts.key_length <= kMaxMaskLength && parts.heads >= 1,
               "startend_row_indices: found ", indices.shape().text(),
               "; expected at least one head and 1 … ", kMaxMaskLength, " keys");
  parts.lts = bound_of(indices, 0);
  if (causal) {
    if (n == 2) parts.lte = bound_of(indices, 1);
  } else if (n == 2) {
    parts.ute = bound_of(indices, 1);
  } else {
    parts.lte = bound_of(indices, 1);
    parts.uts = bound_of(indices, 2);
    parts.ute = bound_of(indices, 3);
  }
  return ColumnMask(parts);
}

ColumnMask from_dense(const Tensor& dense) {
  const int rank = dense.rank();
  HEDDLE_CHECK((rank == 2 || rank == 3) && dense.dtype() == DType::u8, "from_dense: found ",
               name_of(dense.dtype()), " ", dense.shape().text(),
               "; expected u8 [Tq, Tk] or [heads, Tq, Tk]");
  const Dense picture{static_cast<const uint8_t*>(dense.raw()),
                      rank == 3 ? dense.dim(0) : 1,
                      dense.dim(rank - 2),
                      dense.dim(rank - 1),
                      rank == 3 ? dense.stride(0) : 0,
                      dense.stride(rank - 2),
                      dense.stride(rank - 1)};
  HEDDLE_CHECK(
      dense.elements() >= 1 && picture.rows <= kMaxMaskLength && picture.keys <= kMaxMaskLength,
      "from_dense: found ", dense.shape().text(), "; expected every axis to be 1 … ",
      kMaxMaskLength);
  ColumnFitter fitter("from_dense", {.query_length = picture.rows,
                                     .key_length = picture.keys,
                                     .heads = picture.heads,
                                     .causal = picture.is_causal(),
                                     .offset = picture.keys - picture.rows});
  std::vector<RowInterval> masked;
  for (int64_t head = 0; head < picture.heads; ++head) {
    for (int64_t key = 0; key < picture.keys; ++key) {
      masked.clear();
      for (int32_t row = 0; row < picture.rows; ++row) {
        if (picture(head, row, key)) continue;
        if (!masked.empty() && masked.back().end == row) {
          masked.back().end = row + 1;
        } else {
          masked.push_back({row, row + 1});
        }
      }
      fitter.set(head, key, masked);
    }
  }
  return fitter.finish();
}

ColumnMask select_rows(const ColumnMask& mask, std::span<const int32_t> rows) {
  HEDDLE_CHECK(!rows.empty(), "select_rows: found no rows; expected at least one");
  for (size_t i = 0; i < rows.size(); ++i) {
    const int32_t least = i == 0 ? 0 : rows[i - 1] + 1;
    HEDDLE_CHECK(rows[i] >= least && rows[i] < mask.query_length(), "select_rows: found row ",
                 rows[i], " at place ", i, "; expected rising rows in [", least, ", ",
                 mask.query_length(), ")");
  }
  // rank[r] = kept rows before row r: where a bound at r lies among the kept rows.
  std::vector<int32_t> rank(static_cast<size_t>(mask.query_length()) + 1, 0);
  for (const int32_t row : rows) rank[static_cast<size_t>(row) + 1] = 1;
  for (size_t r = 1; r < rank.size(); ++r) rank[r] += rank[r - 1];
  const auto ranked = [&](int32_t row) { return rank[static_cast<size_t>(row)]; };

  // Consecutive rows only shift the diagonal; others turn it into an interval from row 0.
  const auto kept = static_cast<int64_t>(rows.size());
  const bool causal = mask.causal() && rows.back() - rows.front() + 1 == kept;
  const int64_t offset =
      std::min<int64_t>(int64_t{mask.offset()} + rows.front(), mask.key_length());
  ColumnFitter fitter("select_rows", {.query_length = kept,
                                      .key_length = mask.key_length(),
                                      .heads = mask.heads(),
                                      .causal = causal,
                                      .offset = causal ? offset : 0});
  const MaskView view = mask.view();
  std::vector<RowInterval> masked;
  for (int32_t head = 0; head < mask.heads(); ++head) {
    for (int32_t key = 0; key < mask.key_length(); ++key) {
      const MaskColumn column = mask_column(view, head, key);
      masked.clear();
      append_intervals(column, masked);
      if (!causal) masked.push_back({0, std::min(column.first, mask.query_length())});
      for (RowInterval& interval : masked) {
        interval = {ranked(interval.begin), ranked(interval.end)};
      }
      fitter.set(head, key, masked);
    }
  }
  return fitter.finish();
}

ColumnMask intersect(const ColumnMask& a, const ColumnMask& b) {
  HEDDLE_CHECK(a.query_length() == b.query_length() && a.key_length() == b.key_length(),
               "intersect: found ", a.query_length(), " × ", a.key_length(), " and ",
               b.query_length(), " × ", b.key_length(), "; expected equal lengths");
  HEDDLE_CHECK(a.heads() == b.heads() || a.heads() == 1 || b.heads() == 1, "intersect: found ",
               a.heads(), " and ", b.heads(), " heads; expected equal counts, or 1");
  // Of two diagonals the one with the smaller offset hides all that the other hides.
  const int64_t offset = !a.causal()   ? b.offset()
                         : !b.causal() ? a.offset()
                                       : std::min(a.offset(), b.offset());
  const int32_t heads = std::max(a.heads(), b.heads());
  ColumnFitter fitter("intersect", {.query_length = a.query_length(),
                                    .key_length = a.key_length(),
                                    .heads = heads,
                                    .causal = a.causal() || b.causal(),
                                    .offset = offset});
  std::vector<RowInterval> masked;
  for (int32_t head = 0; head < heads; ++head) {
    for (int32_t key = 0; key < a.key_length(); ++key) {
      masked.clear();
      append_intervals(mask_column(a.view(), mask_head(a.view(), head), key), masked);
      append_intervals(mask_column(b.view(), mask_head(b.view(), head), key), masked);
      fitter.set(head, key, masked);
    }
  }
  return fitter.finish();
}

}  // namespace heddle::masks
