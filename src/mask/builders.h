// Builders: one function a kind of mask. Rows are queries, columns are keys; every builder is O(T).
// The picture of each is in docs/mask.md.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "heddle/mask/mask.h"

namespace heddle::masks {

using Lengths = std::vector<int64_t>;

/// Every row sees every key.
ColumnMask full(int64_t query_length, int64_t key_length);

/// Every key is seen by the first `valid` rows only; the rest are padding and see nothing.
ColumnMask valid_rows(int64_t query_length, int64_t key_length, int64_t valid);

/// Row i sees keys j <= i.
ColumnMask causal(int64_t length);

/// Row i sees keys j <= i + offset. With offset = key_length - query_length, the last row sees
/// every key: a cache of `offset` keys before the new rows.
ColumnMask causal_with_offset(int64_t query_length, int64_t key_length, int64_t offset);

/// Causal; row i sees the last `window` keys, itself included.
ColumnMask sliding_window(int64_t length, int64_t window);

/// Row i sees keys [i - left, i + right].
ColumnMask local_window(int64_t length, int64_t left, int64_t right);

/// Packed documents, each seen by itself alone. `total`, when given, must be the sum of the
/// lengths.
ColumnMask document(const Lengths& lengths, std::optional<int64_t> total = {});
ColumnMask causal_document(const Lengths& lengths, std::optional<int64_t> total = {});

/// Cross-attention: queries of document d see keys of document d. Single lengths may be 0.
ColumnMask cross_document(const Lengths& query_lengths, const Lengths& key_lengths);

/// One question followed by its answers, which see the question and themselves, not each other.
struct QuestionGroup {
  int64_t question;
  Lengths answers;
};
ColumnMask shared_question(const std::vector<QuestionGroup>& groups,
                           std::optional<int64_t> total = {});

/// The first `globals` tokens see all and are seen by all; the others see [i - left, i + right].
ColumnMask global_sliding(int64_t length, int64_t globals, int64_t left, int64_t right);

/// Causal; each document but the last sees itself alone, the last sees everything (in-context
/// demonstrations, then the question).
ColumnMask causal_blockwise(const Lengths& lengths, std::optional<int64_t> total = {});

/// Causal, but the first `prefix` keys are seen by every row.
ColumnMask prefix_lm_causal(int64_t length, int64_t prefix);

/// Packed documents; in each, the prefix is seen by all of the document's rows, the rest is causal.
struct PrefixDocument {
  int64_t length;
  int64_t prefix;
};
ColumnMask prefix_lm_document(const std::vector<PrefixDocument>& documents,
                              std::optional<int64_t> total = {});

/// Causal, but the keys of each dropped part are not seen from inside that part.
struct TokenRange {
  int64_t begin;
  int64_t end;
};
ColumnMask qk_sparse(int64_t length, const std::vector<TokenRange>& dropped);

/// Tokens sorted by hash bucket: key j is seen by rows [ute[j], lts[j]); neither may fall.
ColumnMask hash_sparse(int64_t query_length, const std::vector<int32_t>& lts,
                       const std::vector<int32_t>& ute);

/// Hash-sparse from bucket sizes: key bucket b is seen by query bucket b; with `causal`, both sides
/// hold the same tokens in the same order and row i sees keys j <= i of its bucket.
ColumnMask hash_buckets(const Lengths& sizes, bool causal);

/// Causal under a key/value cache of `budget` tokens: from row `budget` on, each new token evicts
/// one older column for good, drawn uniformly and independently a head.
ColumnMask random_eviction(int64_t length, int64_t budget, int64_t heads, uint64_t seed);

/// A tree of token runs in depth-first order: each token sees its ancestors and itself.
/// `parent` is an index into the list, −1 for a root; a node comes after its parent.
struct TreeNode {
  int64_t parent;
  int64_t length;
};
ColumnMask prefix_tree(const std::vector<TreeNode>& nodes, std::optional<int64_t> total = {});

/// Depth of each token of the tree, its position for rotary or learned embeddings. [T]
std::vector<int32_t> tree_positions(const std::vector<TreeNode>& nodes);

/// The first `image` tokens are seen by every row; text tokens are causal with a window.
ColumnMask image_prefix_window(int64_t length, int64_t image, int64_t window);

}  // namespace heddle::masks
