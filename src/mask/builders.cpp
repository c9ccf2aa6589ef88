#include "heddle/mask/builders.h"

#include <algorithm>
#include <numeric>
#include <string_view>

#include "heddle/base/random.h"

namespace heddle::masks {

namespace {

int64_t checked_length(std::string_view what, int64_t length) {
  HEDDLE_CHECK(length >= 1 && length <= kMaxMaskLength, what, ": length is ", length,
               "; expected 1 … ", kMaxMaskLength);
  return length;
}

void check_range(std::string_view what, std::string_view name, int64_t value, int64_t first,
                 int64_t last) {
  HEDDLE_CHECK(value >= first && value <= last, what, ": ", name, " is ", value, "; expected ",
               first, " … ", last);
}

/// The sum of the lengths, each at least `least`; checked against the total that the caller
/// expects.
int64_t checked_sum(std::string_view what, const Lengths& lengths, int64_t least,
                    std::optional<int64_t> total) {
  int64_t sum = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    HEDDLE_CHECK(lengths[i] >= least, what, ": length ", i, " is ", lengths[i],
                 "; expected at least ", least);
    HEDDLE_CHECK(lengths[i] <= kMaxMaskLength - sum, what, ": lengths 0 … ", i,
                 " add up to more than ", kMaxMaskLength, " tokens");
    sum += lengths[i];
  }
  HEDDLE_CHECK(sum >= 1, what, ": found no tokens; expected at least 1");
  HEDDLE_CHECK(!total || *total == sum, what, ": lengths add up to ", sum, "; expected ",
               total.value_or(0));
  return sum;
}

/// Calls visit(column, document's begin, document's end) for every column.
template <typename Visit>
void for_each_token(const Lengths& lengths, Visit visit) {
  int64_t begin = 0;
  for (const int64_t length : lengths) {
    for (int64_t key = begin; key < begin + length; ++key) visit(key, begin, begin + length);
    begin += length;
  }
}

/// A square mask with room for one value a column in the bounds named later.
MaskParts square(int64_t length, bool causal) {
  return {.query_length = length, .key_length = length, .causal = causal};
}

std::vector<int32_t> constant(int64_t length, int64_t value) {
  return std::vector<int32_t>(static_cast<size_t>(length), static_cast<int32_t>(value));
}

int32_t to_row(int64_t value, int64_t length) {
  return static_cast<int32_t>(std::clamp<int64_t>(value, 0, length));
}

/// value(key) for every key, clamped to [0, length].
template <typename Value>
std::vector<int32_t> rows_by_key(int64_t length, Value value) {
  std::vector<int32_t> rows(static_cast<size_t>(length));
  for (int64_t key = 0; key < length; ++key) {
    rows[static_cast<size_t>(key)] = to_row(value(key), length);
  }
  return rows;
}

}  // namespace

ColumnMask full(int64_t query_length, int64_t key_length) {
  return ColumnMask({.query_length = query_length, .key_length = key_length});
}

ColumnMask valid_rows(int64_t query_length, int64_t key_length, int64_t valid) {
  checked_length("valid-rows", query_length);
  checked_length("valid-rows", key_length);
  check_range("valid-rows", "valid", valid, 0, query_length);
  return ColumnMask(
      {.query_length = query_length, .key_length = key_length, .lts = constant(key_length, valid)});
}

ColumnMask causal(int64_t length) { return causal_with_offset(length, length, 0); }

ColumnMask causal_with_offset(int64_t query_length, int64_t key_length, int64_t offset) {
  return ColumnMask(
      {.query_length = query_length, .key_length = key_length, .causal = true, .offset = offset});
}

ColumnMask sliding_window(int64_t length, int64_t window) {
  checked_length("sliding-window", length);
  check_range("sliding-window", "window", window, 1, kMaxMaskLength);
  MaskParts parts = square(length, true);
  parts.lts = rows_by_key(length, [&](int64_t key) { return key + window; });
  return ColumnMask(parts);
}

ColumnMask local_window(int64_t length, int64_t left, int64_t right) {
  checked_length("local-window", length);
  check_range("local-window", "left", left, 0, kMaxMaskLength);
  check_range("local-window", "right", right, 0, kMaxMaskLength);
  MaskParts parts = square(length, false);
  parts.lts = rows_by_key(length, [&](int64_t key) { return key + left + 1; });
  parts.ute = rows_by_key(length, [&](int64_t key) { return key - right; });
  return ColumnMask(parts);
}

ColumnMask document(const Lengths& lengths, std::optional<int64_t> total) {
  const int64_t length = checked_sum("document", lengths, 1, total);
  MaskParts parts = square(length, false);
  parts.lts = constant(length, length);
  parts.ute = constant(length, 0);
  for_each_token(lengths, [&](int64_t key, int64_t begin, int64_t end) {
    parts.lts[static_cast<size_t>(key)] = static_cast<int32_t>(end);
    parts.ute[static_cast<size_t>(key)] = static_cast<int32_t>(begin);
  });
  return ColumnMask(parts);
}

ColumnMask causal_document(const Lengths& lengths, std::optional<int64_t> total) {
  const int64_t length = checked_sum("causal-document", lengths, 1, total);
  MaskParts parts = square(length, true);
  parts.lts = constant(length, length);
  for_each_token(lengths, [&](int64_t key, int64_t, int64_t end) {
    parts.lts[static_cast<size_t>(key)] = static_cast<int32_t>(end);
  });
  return ColumnMask(parts);
}

ColumnMask cross_document(const Lengths& query_lengths, const Lengths& key_lengths) {
  HEDDLE_CHECK(query_lengths.size() == key_lengths.size(), "cross-document: found ",
               query_lengths.size(), " query and ", key_lengths.size(),
               " key documents; expected equal counts");
  const int64_t queries = checked_sum("cross-document queries", query_lengths, 0, {});
  const int64_t keys = checked_sum("cross-document keys", key_lengths, 0, {});
  MaskParts parts{.query_length = queries, .key_length = keys};
  int64_t row = 0;
  for (size_t d = 0; d < key_lengths.size(); ++d) {
    parts.ute.insert(parts.ute.end(), static_cast<size_t>(key_lengths[d]),
                     static_cast<int32_t>(row));
    row += query_lengths[d];
    parts.lts.insert(parts.lts.end(), static_cast<size_t>(key_lengths[d]),
                     static_cast<int32_t>(row));
  }
  return ColumnMask(parts);
}

ColumnMask shared_question(const std::vector<QuestionGroup>& groups, std::optional<int64_t> total) {
  Lengths lengths;  // question and answers of all groups in order
  for (const QuestionGroup& group : groups) {
    lengths.push_back(group.question);
    lengths.insert(lengths.end(), group.answers.begin(), group.answers.end());
  }
  const int64_t length = checked_sum("shared-question", lengths, 1, total);
  MaskParts parts = square(length, true);
  for (const QuestionGroup& group : groups) {
    const auto begin = static_cast<int64_t>(parts.lts.size());
    const int64_t end =
        std::accumulate(group.answers.begin(), group.answers.end(), begin + group.question);
    parts.lts.insert(parts.lts.end(), static_cast<size_t>(group.question),
                     static_cast<int32_t>(end));
    for (const int64_t answer : group.answers) {
      const auto answer_end = static_cast<int64_t>(parts.lts.size()) + answer;
      parts.lts.insert(parts.lts.end(), static_cast<size_t>(answer),
                       static_cast<int32_t>(answer_end));
    }
  }
  return ColumnMask(parts);
}

ColumnMask global_sliding(int64_t length, int64_t globals, int64_t left, int64_t right) {
  checked_length("global-sliding", length);
  check_range("global-sliding", "globals", globals, 0, length);
  check_range("global-sliding", "left", left, 0, kMaxMaskLength);
  check_range("global-sliding", "right", right, 0, kMaxMaskLength);
  MaskParts parts = square(length, false);
  // Rows below `globals` see every column: both intervals begin after them.
  parts.lts = rows_by_key(length, [&](int64_t key) {
    return key < globals ? length : std::max(key + left + 1, globals);
  });
  parts.uts = rows_by_key(length, [&](int64_t key) { return key < globals ? 0 : globals; });
  parts.ute = rows_by_key(
      length, [&](int64_t key) { return key < globals ? 0 : std::max(key - right, globals); });
  return ColumnMask(parts);
}

ColumnMask causal_blockwise(const Lengths& lengths, std::optional<int64_t> total) {
  const int64_t length = checked_sum("causal-blockwise", lengths, 1, total);
  const int64_t last = length - lengths.back();
  MaskParts parts = square(length, true);
  parts.lts = constant(length, length);
  parts.lte = constant(length, length);
  for_each_token(lengths, [&](int64_t key, int64_t, int64_t end) {
    if (end >= last) return;  // the last demonstration and the last document hide nothing
    parts.lts[static_cast<size_t>(key)] = static_cast<int32_t>(end);
    parts.lte[static_cast<size_t>(key)] = static_cast<int32_t>(last);
  });
  return ColumnMask(parts);
}

ColumnMask prefix_lm_causal(int64_t length, int64_t prefix) {
  checked_length("prefix-lm-causal", length);
  check_range("prefix-lm-causal", "prefix", prefix, 0, length);
  MaskParts parts = square(length, false);
  parts.ute = rows_by_key(length, [&](int64_t key) { return key < prefix ? 0 : key; });
  return ColumnMask(parts);
}

ColumnMask prefix_lm_document(const std::vector<PrefixDocument>& documents,
                              std::optional<int64_t> total) {
  Lengths lengths;
  for (const PrefixDocument& document : documents) {
    check_range("prefix-lm-document", "prefix", document.prefix, 0, document.length);
    lengths.push_back(document.length);
  }
  const int64_t length = checked_sum("prefix-lm-document", lengths, 1, total);
  MaskParts parts = square(length, false);
  for (const PrefixDocument& document : documents) {
    const auto begin = static_cast<int64_t>(parts.lts.size());
    const int64_t end = begin + document.length;
    for (int64_t key = begin; key < end; ++key) {
      parts.lts.push_back(static_cast<int32_t>(end));
      parts.ute.push_back(static_cast<int32_t>(key < begin + document.prefix ? begin : key));
    }
  }
  return ColumnMask(parts);
}

ColumnMask qk_sparse(int64_t length, const std::vector<TokenRange>& dropped) {
  checked_length("qk-sparse", length);
  MaskParts parts = square(length, true);
  parts.lts = constant(length, length);
  parts.lte = constant(length, length);
  int64_t least = 0;
  for (const TokenRange& part : dropped) {
    HEDDLE_CHECK(part.begin >= least && part.begin <= part.end && part.end <= length,
                 "qk-sparse: found part [", part.begin, ", ", part.end,
                 "); expected rising parts inside [", least, ", ", length, ")");
    least = part.end;
    for (int64_t key = part.begin; key < part.end; ++key) {
      parts.lts[static_cast<size_t>(key)] = static_cast<int32_t>(key);
      parts.lte[static_cast<size_t>(key)] = static_cast<int32_t>(part.end);
    }
  }
  return ColumnMask(parts);
}

ColumnMask hash_sparse(int64_t query_length, const std::vector<int32_t>& lts,
                       const std::vector<int32_t>& ute) {
  HEDDLE_CHECK(lts.size() == ute.size(), "hash-sparse: found ", lts.size(), " ends and ",
               ute.size(), " beginnings; expected one of each a key");
  for (size_t key = 0; key < lts.size(); ++key) {
    HEDDLE_CHECK(ute[key] <= lts[key] &&
                     (key == 0 || (ute[key] >= ute[key - 1] && lts[key] >= lts[key - 1])),
                 "hash-sparse: key ", key, " is seen by rows [", ute[key], ", ", lts[key],
                 "); expected ute <= lts and neither to fall from key to key");
  }
  return ColumnMask({.query_length = query_length,
                     .key_length = static_cast<int64_t>(lts.size()),
                     .lts = lts,
                     .ute = ute});
}

ColumnMask hash_buckets(const Lengths& sizes, bool causal) {
  const int64_t length = checked_sum("hash-buckets", sizes, 0, {});
  std::vector<int32_t> lts = constant(length, length);
  std::vector<int32_t> ute = constant(length, 0);
  for_each_token(sizes, [&](int64_t key, int64_t begin, int64_t end) {
    lts[static_cast<size_t>(key)] = static_cast<int32_t>(end);
    ute[static_cast<size_t>(key)] = static_cast<int32_t>(causal ? key : begin);
  });
  return hash_sparse(length, lts, ute);
}

ColumnMask random_eviction(int64_t length, int64_t budget, int64_t heads, uint64_t seed) {
  checked_length("random-eviction", length);
  check_range("random-eviction", "budget", budget, 1, kMaxMaskLength);
  check_range("random-eviction", "heads", heads, 1, kMaxMaskLength / length);
  MaskParts parts = square(length, true);
  parts.heads = heads;
  parts.lts = constant(heads * length, length);
  std::vector<int64_t> cached;  // columns still held, without the newest
  for (int64_t head = 0; head < heads; ++head) {
    Random random(seed, static_cast<uint64_t>(head));
    cached.clear();
    for (int64_t row = 0; row < length; ++row) {
      if (row >= budget && !cached.empty()) {
        const auto victim = static_cast<size_t>(random.below(cached.size()));
        parts.lts[static_cast<size_t>(head * length + cached[victim])] = static_cast<int32_t>(row);
        cached[victim] = cached.back();
        cached.pop_back();
      }
      cached.push_back(row);
    }
  }
  return ColumnMask(parts);
}

ColumnMask image_prefix_window(int64_t length, int64_t image, int64_t window) {
  checked_length("image-prefix-window", length);
  check_range("image-prefix-window", "image", image, 0, length);
  check_range("image-prefix-window", "window", window, 1, kMaxMaskLength);
  MaskParts parts = square(length, false);
  parts.lts = rows_by_key(length, [&](int64_t key) { return key < image ? length : key + window; });
  parts.ute = rows_by_key(length, [&](int64_t key) { return key < image ? 0 : key; });
  return ColumnMask(parts);
}

}  // namespace heddle::masks
