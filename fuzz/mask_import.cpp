// Fuzz target: everything that makes a mask from foreign numbers. What is refused must be refused
// with heddle::Error; what is accepted must mean what its definition says, element by element, and
// its plan must agree with it tile by tile.
//
// Input: one byte chooses the importer, then its numbers follow; missing bytes read as zero.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/mask/algebra.h"
#include "heddle/mask/mask.h"
#include "heddle/mask/plan.h"
#include "heddle/tensor/tensor.h"

using heddle::ColumnMask;

namespace {

constexpr int64_t kMostElements = 4096;             // masks up to this size are checked one by one
constexpr int64_t kMostColumns = int64_t{1} << 20;  // beyond, O(T) work takes the time of the rest

void expect(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "mask_import: %s\n", what);
  std::abort();
}

/// Takes numbers from the front of the input.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  template <typename T>
  T take() {
    T value{};
    const size_t bytes = std::min(sizeof(T), size_);
    if (bytes > 0) std::memcpy(&value, data_, bytes);
    data_ += bytes;
    size_ -= bytes;
    return value;
  }

  /// A small length in most inputs, any 64-bit number in some.
  int64_t length() {
    const auto first = take<uint8_t>();
    return first < 250 ? first % 40 : take<int64_t>();
  }

  /// A bound close to [0, rows] in most inputs, any 32-bit number in some.
  int32_t bound(int64_t rows) {
    const auto first = take<uint8_t>();
    if (first >= 250) return take<int32_t>();
    return static_cast<int32_t>(first % (std::clamp<int64_t>(rows, 0, 40) + 1));
  }

  size_t left() const { return size_; }

 private:
  const uint8_t* data_;
  size_t size_;
};

bool is_long(const ColumnMask& mask) {
  const int64_t columns = int64_t{mask.heads()} * mask.key_length();
  return std::max<int64_t>(columns, mask.query_length()) > kMostColumns;
}

bool is_small(const ColumnMask& mask) {
  return int64_t{mask.query_length()} * mask.key_length() * mask.heads() <= kMostElements;
}

/// The tiles of a plan hold exactly the pairs that may look.
void check_plan(const ColumnMask& mask, heddle::TileShape tile) {
  const heddle::MaskPlan plan(mask, tile);
  for (int32_t head = 0; head < mask.heads(); ++head) {
    std::vector<int> listed(static_cast<size_t>(plan.query_tiles()) *
                            static_cast<size_t>(plan.key_tiles()));
    for (int32_t q = 0; q < plan.query_tiles(); ++q) {
      for (const heddle::TileRun run : plan.runs_of_query_tile(head, q)) {
        for (int32_t k = run.first; k < run.first + static_cast<int32_t>(run.count); ++k) {
          expect(k >= 0 && k < plan.key_tiles(), "a run leaves the key tiles");
          int& seen = listed[static_cast<size_t>(q * plan.key_tiles() + k)];
          expect(seen == 0, "a tile is listed twice");
          seen = run.full != 0 ? 2 : 1;
        }
      }
    }
    for (int32_t q = 0; q < plan.query_tiles(); ++q) {
      for (int32_t k = 0; k < plan.key_tiles(); ++k) {
        int64_t visible = 0, pairs = 0;
        for (int32_t i = q * tile.rows; i < std::min((q + 1) * tile.rows, mask.query_length()); ++i)
          for (int32_t j = k * tile.keys; j < std::min((k + 1) * tile.keys, mask.key_length()); ++j)
            ++pairs, visible += mask.allowed(head, i, j) ? 1 : 0;
        const int expected = visible == 0 ? 0 : visible == pairs ? 2 : 1;
        expect(listed[static_cast<size_t>(q * plan.key_tiles() + k)] == expected,
               "the plan has a wrong class for a tile");
      }
    }
  }
}

/// What holds for every mask.
void check_mask(const ColumnMask& mask, Input& input) {
  if (is_long(mask)) return;
  const int64_t counted = mask.visible_pairs();
  if (!is_small(mask)) return;
  int64_t visible = 0;
  for (int32_t head = 0; head < mask.heads(); ++head) {
    for (int32_t i = 0; i < mask.query_length(); ++i) {
      std::vector<bool> row(static_cast<size_t>(mask.key_length()));
      for (const heddle::KeyRange range : mask.visible_ranges(head, i))
        for (int32_t j = range.begin; j < range.end; ++j) row.at(static_cast<size_t>(j)) = true;
      for (int32_t j = 0; j < mask.key_length(); ++j) {
        expect(row[static_cast<size_t>(j)] == mask.allowed(head, i, j), "the row view is wrong");
        visible += mask.allowed(head, i, j) ? 1 : 0;
      }
    }
  }
  expect(visible == counted, "visible_pairs is wrong");
  const int32_t rows = input.take<uint8_t>() % 16 + 1;
  const int32_t keys = input.take<uint8_t>() % 16 + 1;
  check_plan(mask, {rows, keys});
}

ColumnMask from_indices(Input& input) {
  const bool causal = input.take<uint8_t>() % 2 != 0;
  const int64_t rows = input.length();
  const int64_t heads = input.take<uint8_t>() % 4, keys = input.take<uint8_t>() % 40;
  const int64_t n = input.take<uint8_t>() % 6;
  heddle::Tensor indices = heddle::Tensor::zeros({heads, keys, n}, heddle::DType::i32);
  for (int64_t at = 0; at < heads * keys * n; ++at) indices.data<int32_t>()[at] = input.bound(rows);
  ColumnMask mask = heddle::masks::from_startend_row_indices(indices, rows, causal);
  if (!is_small(mask)) return mask;
  for (int64_t head = 0; head < heads; ++head) {
    for (int64_t j = 0; j < keys; ++j) {
      const int32_t* c = indices.data<int32_t>() + (head * keys + j) * n;
      for (int64_t i = 0; i < rows; ++i) {
        const bool masked = causal   ? i < j - (keys - rows) || (i >= c[0] && (n == 1 || i < c[1]))
                            : n == 2 ? i >= c[0] || i < c[1]
                                     : (i >= c[0] && i < c[1]) || (i >= c[2] && i < c[3]);
        expect(mask.allowed(static_cast<int32_t>(head), static_cast<int32_t>(i),
                            static_cast<int32_t>(j)) != masked,
               "from_startend_row_indices: wrong element");
      }
    }
  }
  return mask;
}

ColumnMask from_picture(Input& input) {
  const int64_t heads = input.take<uint8_t>() % 3, rows = input.take<uint8_t>() % 24,
                keys = input.take<uint8_t>() % 24;
  heddle::Tensor picture = heads == 0
                               ? heddle::Tensor::zeros({rows, keys}, heddle::DType::u8)
                               : heddle::Tensor::zeros({heads, rows, keys}, heddle::DType::u8);
  auto* bits = static_cast<uint8_t*>(picture.raw());
  const int64_t count = std::max<int64_t>(heads, 1) * rows * keys;
  for (int64_t at = 0; at < count; at += 8) {
    const auto byte = input.take<uint8_t>();
    for (int64_t bit = 0; bit < std::min<int64_t>(8, count - at); ++bit)
      bits[at + bit] = static_cast<uint8_t>((byte >> bit) & 1);
  }
  ColumnMask mask = heddle::masks::from_dense(picture);
  for (int32_t head = 0; head < mask.heads(); ++head)
    for (int32_t i = 0; i < mask.query_length(); ++i)
      for (int32_t j = 0; j < mask.key_length(); ++j)
        expect(mask.allowed(head, i, j) == (bits[(head * rows + i) * keys + j] != 0),
               "from_dense: wrong element");
  return mask;
}

ColumnMask from_parts(Input& input) {
  heddle::MaskParts parts{.query_length = input.length(),
                          .key_length = input.length(),
                          .heads = input.length(),
                          .causal = input.take<uint8_t>() % 2 != 0,
                          .offset = 0};
  parts.offset = input.length() - input.take<uint8_t>() % 40;
  const auto present = input.take<uint8_t>();
  int bit = 0;
  for (std::vector<int32_t>* bound : {&parts.lts, &parts.lte, &parts.uts, &parts.ute}) {
    const bool sane =
        parts.heads >= 0 && parts.heads < 40 && parts.key_length >= 0 && parts.key_length < 40;
    const size_t count = sane ? static_cast<size_t>(parts.heads * parts.key_length)
                              : std::min<size_t>(input.left(), 8);
    if ((present >> bit++ & 1) != 0)
      for (size_t at = 0; at < count; ++at) bound->push_back(input.bound(parts.query_length));
  }
  return ColumnMask(parts);
}

void check_select_rows(const ColumnMask& mask, Input& input) {
  std::vector<int32_t> rows;
  for (auto count = input.take<uint8_t>() % 40; count > 0; --count)
    rows.push_back(rows.empty() || input.take<uint8_t>() > 8
                       ? (rows.empty() ? 0 : rows.back()) + input.take<uint8_t>() % 4
                       : input.take<int32_t>());
  const ColumnMask selected = heddle::masks::select_rows(mask, rows);
  if (!is_small(mask)) return;
  for (int32_t head = 0; head < mask.heads(); ++head)
    for (size_t i = 0; i < rows.size(); ++i)
      for (int32_t j = 0; j < mask.key_length(); ++j)
        expect(selected.allowed(head, static_cast<int32_t>(i), j) == mask.allowed(head, rows[i], j),
               "select_rows: wrong element");
}

void check_intersect(const ColumnMask& a, const ColumnMask& b) {
  if (is_long(b)) return;
  const ColumnMask both = heddle::masks::intersect(a, b);
  if (!is_small(both)) return;
  for (int32_t head = 0; head < both.heads(); ++head)
    for (int32_t i = 0; i < both.query_length(); ++i)
      for (int32_t j = 0; j < both.key_length(); ++j)
        expect(both.allowed(head, i, j) == (a.allowed(a.heads() == 1 ? 0 : head, i, j) &&
                                            b.allowed(b.heads() == 1 ? 0 : head, i, j)),
               "intersect: wrong element");
}

ColumnMask import(Input& input) {
  switch (input.take<uint8_t>() % 3) {
    case 0:
      return from_indices(input);
    case 1:
      return from_picture(input);
    default:
      return from_parts(input);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  try {
    const ColumnMask first = import(input);
    check_mask(first, input);
    if (is_long(first)) return 0;
    if (input.take<uint8_t>() % 2 == 0)
      check_select_rows(first, input);
    else
      check_intersect(first, import(input));
  } catch (const heddle::Error&) {
    // refused: fine
  }
  return 0;
}
