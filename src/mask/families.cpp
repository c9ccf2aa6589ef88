#include "heddle/mask/families.h"

#include <algorithm>
#include <string>

#include "heddle/base/random.h"
#include "heddle/mask/builders.h"

namespace heddle::masks {

namespace {

struct Request {
  int64_t length;
  int64_t kv_heads;
  uint64_t seed;
  Random& random;
};

int64_t window_of(int64_t length) { return std::max<int64_t>(length / 16, 1); }

int64_t document_count(const Request& request) {
  const int64_t length = request.length;
  const int64_t least = length <= 16384 ? 3 : length <= 65536 ? 10 : 11;
  return std::min(request.random.between(least, least + 4), length);
}

/// Lengths of documents that fill the sequence: the gaps between distinct uniform cuts.
Lengths documents(const Request& request) {
  const int64_t count = document_count(request);
  std::vector<int64_t> cuts{0, request.length};
  while (static_cast<int64_t>(cuts.size()) <= count) {
    const int64_t cut = request.random.between(1, request.length - 1);
    if (std::find(cuts.begin(), cuts.end(), cut) == cuts.end()) cuts.push_back(cut);
  }
  std::sort(cuts.begin(), cuts.end());
  Lengths lengths;
  for (size_t i = 1; i < cuts.size(); ++i) lengths.push_back(cuts[i] - cuts[i - 1]);
  return lengths;
}

/// Each document is a question and 2–6 answers, all of about equal length.
ColumnMask shared_questions(const Request& request) {
  std::vector<QuestionGroup> groups;
  for (const int64_t length : documents(request)) {
    const int64_t answers = std::min(request.random.between(2, 6), length - 1);
    QuestionGroup group{length / (answers + 1), {}};
    int64_t left = length - group.question;
    for (int64_t answer = 0; answer < answers; ++answer) {
      group.answers.push_back(left / (answers - answer));
      left -= group.answers.back();
    }
    groups.push_back(group);
  }
  return shared_question(groups, request.length);
}

ColumnMask prefix_documents(const Request& request) {
  std::vector<PrefixDocument> parts;
  for (const int64_t length : documents(request)) {
    parts.push_back({length, request.random.between(0, length)});
  }
  return prefix_lm_document(parts, request.length);
}

/// Every second document, beginning with the first or the second, is dropped.
ColumnMask dropped_documents(const Request& request) {
  std::vector<TokenRange> dropped;
  bool drop = request.random.below(2) == 0;
  int64_t begin = 0;
  for (const int64_t length : documents(request)) {
    if (drop) dropped.push_back({begin, begin + length});
    drop = !drop;
    begin += length;
  }
  return qk_sparse(request.length, dropped);
}

/// Queries and keys fall into buckets independently and are sorted by (bucket, time); a query sees
/// the keys of its bucket that are not later than itself.
ColumnMask hashed(const Request& request) {
  const auto buckets = static_cast<size_t>(document_count(request));
  const auto length = static_cast<size_t>(request.length);
  std::vector<size_t> query_bucket(length), key_bucket(length);
  std::vector<int32_t> queries(buckets + 1, 0);  // queries before each bucket
  for (size_t time = 0; time < length; ++time) {
    query_bucket[time] = request.random.below(buckets);
    key_bucket[time] = request.random.below(buckets);
    ++queries[query_bucket[time] + 1];
  }
  for (size_t bucket = 0; bucket < buckets; ++bucket) queries[bucket + 1] += queries[bucket];
  std::vector<int32_t> lts, ute;
  for (size_t bucket = 0; bucket < buckets; ++bucket) {
    int32_t earlier = queries[bucket];  // row of the bucket's first query that is not earlier
    for (size_t time = 0; time < length; ++time) {
      if (key_bucket[time] == bucket) {
        lts.push_back(queries[bucket + 1]);
        ute.push_back(earlier);
      }
      if (query_bucket[time] == bucket) ++earlier;
    }
  }
  return hash_sparse(request.length, lts, ute);
}

using Build = ColumnMask (*)(const Request&);

constexpr std::string_view kNames[] = {
    "full",
    "causal",
    "sliding-window",
    "causal-document",
    "document",
    "shared-question",
    "global-sliding",
    "causal-blockwise",
    "prefix-lm-document",
    "prefix-lm-causal",
    "qk-sparse",
    "hash-sparse",
    "random-eviction",
};

constexpr Build kBuilds[] = {
    [](const Request& r) { return full(r.length, r.length); },
    [](const Request& r) { return causal(r.length); },
    [](const Request& r) { return sliding_window(r.length, window_of(r.length)); },
    [](const Request& r) { return causal_document(documents(r), r.length); },
    [](const Request& r) { return document(documents(r), r.length); },
    shared_questions,
    [](const Request& r) {
      const int64_t side = window_of(r.length) - 1;  // a window counts its own token
      return global_sliding(r.length, std::min<int64_t>(16, r.length), side, side);
    },
    [](const Request& r) { return causal_blockwise(documents(r), r.length); },
    prefix_documents,
    [](const Request& r) { return prefix_lm_causal(r.length, r.length / 2); },
    dropped_documents,
    hashed,
    [](const Request& r) {
      return random_eviction(r.length, std::max<int64_t>(r.length / 2, 1), r.kv_heads, r.seed);
    },
};

static_assert(std::size(kNames) == std::size(kBuilds));

}  // namespace

std::span<const std::string_view> family_names() { return kNames; }

ColumnMask family(std::string_view name, int64_t length, int64_t kv_heads, uint64_t seed) {
  HEDDLE_CHECK(length >= 1 && length <= kMaxMaskLength, "mask family: length is ", length,
               "; expected 1 … ", kMaxMaskLength);
  HEDDLE_CHECK(kv_heads >= 1, "mask family: found ", kv_heads,
               " key/value heads; expected 1 or more");
  std::string names;
  for (size_t i = 0; i < std::size(kNames); ++i) {
    if (kNames[i] == name) {
      Random random(seed, i);
      return kBuilds[i]({length, kv_heads, seed, random});
    }
    names += str(i == 0 ? "" : ", ", kNames[i]);
  }
  detail::throw_error(str("mask family: found no ", name, "; expected one of ", names));
}

}  // namespace heddle::masks
