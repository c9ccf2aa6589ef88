// The prefix tree: a column is seen until its subtree ends, so one causal bound holds any tree.
#include <algorithm>

#include "heddle/mask/builders.h"

namespace heddle::masks {

namespace {

/// Checks that the list is in depth-first order and returns its number of tokens.
int64_t checked_tree(const std::vector<TreeNode>& nodes) {
  std::vector<int64_t> path;  // nodes from a root to the one before
  int64_t length = 0;
  for (size_t i = 0; i < nodes.size(); ++i) {
    const auto [parent, tokens] = nodes[i];
    HEDDLE_CHECK(tokens >= 1 && tokens <= kMaxMaskLength - length, "prefix-tree: node ", i, " has ",
                 tokens, " tokens; expected 1 … ", kMaxMaskLength - length);
    length += tokens;
    while (!path.empty() && path.back() != parent) path.pop_back();
    HEDDLE_CHECK(
        parent == -1 || !path.empty(), "prefix-tree: node ", i, " has parent ", parent,
        "; expected −1, or the node before it, or one of that node's ancestors. Hint: list "
        "the nodes in depth-first order");
    path.push_back(static_cast<int64_t>(i));
  }
  HEDDLE_CHECK(length >= 1, "prefix-tree: found no nodes; expected at least 1");
  return length;
}

}  // namespace

ColumnMask prefix_tree(const std::vector<TreeNode>& nodes, std::optional<int64_t> total) {
  const int64_t length = checked_tree(nodes);
  HEDDLE_CHECK(!total || *total == length, "prefix-tree: nodes hold ", length, " tokens; expected ",
               total.value_or(0));
  // Tokens below each node, itself included: children come later, so add them up from the back.
  std::vector<int64_t> subtree(nodes.size());
  for (size_t back = 1; back <= nodes.size(); ++back) {
    const size_t i = nodes.size() - back;
    subtree[i] += nodes[i].length;
    if (nodes[i].parent >= 0) subtree[static_cast<size_t>(nodes[i].parent)] += subtree[i];
  }
  MaskParts parts{.query_length = length, .key_length = length, .causal = true};
  for (size_t i = 0; i < nodes.size(); ++i) {
    const auto end = static_cast<int64_t>(parts.lts.size()) + subtree[i];
    parts.lts.insert(parts.lts.end(), static_cast<size_t>(nodes[i].length),
                     static_cast<int32_t>(end));
  }
  return ColumnMask(parts);
}

std::vector<int32_t> tree_positions(const std::vector<TreeNode>& nodes) {
  std::vector<int32_t> positions;
  positions.reserve(static_cast<size_t>(checked_tree(nodes)));
  std::vector<int64_t> depth(nodes.size());  // tokens above the node
  for (size_t i = 0; i < nodes.size(); ++i) {
    const int64_t parent = nodes[i].parent;
    if (parent >= 0) {
      const auto p = static_cast<size_t>(parent);
      depth[i] = depth[p] + nodes[p].length;
    }
    for (int64_t t = 0; t < nodes[i].length; ++t) {
      positions.push_back(static_cast<int32_t>(depth[i] + t));
    }
  }
  return positions;  // [T]
}

}  // namespace heddle::masks
