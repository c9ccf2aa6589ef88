#include "heddle/text/charsmap.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

constexpr uint32_t kBlock = 256;      // the children of a node stand at its base ^ byte
constexpr int kMostRules = 32;        // SentencePiece's room for the rules found on one path
constexpr int kLongestRule = 256;     // bytes a rule may replace; NFKC needs about 30
constexpr size_t kLongestText = 256;  // bytes a rule may write; NFKC needs 33

/// One unit of the double array.
struct Unit {
  uint32_t bits;
  bool has_leaf() const { return (bits >> 8 & 1) != 0; }
  uint32_t value() const { return bits & 0x7FFFFFFFu; }
  /// The byte that leads here; above 255 for units that hold a value.
  uint32_t label() const { return bits & 0x800000FFu; }
  uint32_t offset() const { return bits >> 10 << ((bits & 0x200u) >> 6); }
};

/// Walks every path that some text can take. A node is named by its base. Nodes may be shared, so
/// that each is measured once; a node met again below itself would be a circle.
class Walk {
 public:
  Walk(std::string_view trie, std::string_view texts, std::string_view name, size_t offset)
      : texts_(texts), units_(trie.size() / 4), nodes_(units_.size()), name_(name), at_(offset) {
    std::memcpy(units_.data(), trie.data(), trie.size());
    sort_children();
  }

  void run() {
    enter(units_[0].offset());
    while (!path_.empty()) {
      Step& step = path_.back();
      if (step.next < first_[step.base + 1]) {
        follow(step, children_[step.next++]);
      } else {
        nodes_[step.base].done = true;
        const uint32_t base = step.base;
        path_.pop_back();
        if (!path_.empty()) measure(path_.back(), base);
      }
    }
  }

 private:
  struct Node {
    uint16_t height = 0;  // bytes of the longest path below
    uint16_t rules = 0;   // rules on the path below with the most of them
    bool open = false, done = false;
  };
  struct Step {
    uint32_t base;
    uint32_t next;           // the child to follow next, in children_
    uint16_t rule_here = 0;  // whether the child followed last ends a rule
  };

  template <typename... Parts>
  void check(bool condition, const Parts&... parts) const {
    HEDDLE_CHECK(condition, "sentencepiece: ", name_, ": precompiled_charsmap at offset ", at_,
                 ": ", parts...);
  }

  /// A unit can only be the child of the node at its own position ^ its label.
  void sort_children() {
    first_.assign(units_.size() + 1, 0);
    const auto parent = [&](uint32_t i) { return i ^ (units_[i].bits & 0xFFu); };
    const auto is_child = [&](uint32_t i) {
      return units_[i].label() < kBlock && parent(i) < units_.size();
    };
    const auto count = static_cast<uint32_t>(units_.size());
    for (uint32_t i = 0; i < count; ++i) {
      if (is_child(i)) ++first_[parent(i) + 1];
    }
    for (size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
    children_.resize(first_.back());
    std::vector<uint32_t> next(first_.begin(), first_.end() - 1);
    for (uint32_t i = 0; i < count; ++i) {
      if (is_child(i)) children_[next[parent(i)]++] = i;
    }
  }

  void enter(uint32_t base) {
    check((base | (kBlock - 1)) < units_.size(), "found a node at unit ", base,
          "; expected its block of 256 within the ", units_.size(), " units");
    nodes_[base].open = true;
    path_.push_back({base, first_[base]});
  }

  void follow(Step& step, uint32_t child) {
    const Unit unit = units_[child];
    const uint32_t base = child ^ unit.offset();
    step.rule_here = unit.has_leaf() ? 1 : 0;
    if (base < units_.size() && nodes_[base].open) {
      check(nodes_[base].done, "found a circle through unit ", child, "; expected a tree");
      check_leaf(step, base);
      measure(step, base);
      return;
    }
    const Step here = step;  // enter() may move the path
    enter(base);
    check_leaf(here, base);
  }

  void check_leaf(const Step& step, uint32_t base) const {
    if (step.rule_here == 0) return;
    const size_t value = units_[base].value();
    check(value < texts_.size(), "found a rule that writes the text at ", value,
          "; expected below ", texts_.size());
    const std::string_view rest = texts_.substr(value, kLongestText + 1);
    const size_t end = rest.find('\0');
    check(end != rest.npos, "found no end of the text at ", value, " within ", kLongestText,
          " bytes");
    check(is_valid_utf8(rest.substr(0, end)), "the text at ", value, " is not UTF-8");
  }

  /// Takes what is known below the child at `base` into the node above it.
  void measure(const Step& step, uint32_t base) {
    Node& node = nodes_[step.base];
    const Node& below = nodes_[base];
    node.height = std::max<uint16_t>(node.height, static_cast<uint16_t>(below.height + 1));
    node.rules =
        std::max<uint16_t>(node.rules, static_cast<uint16_t>(below.rules + step.rule_here));
    check(node.height <= kLongestRule, "found a rule of more than ", kLongestRule, " bytes");
    check(node.rules <= kMostRules, "found more than ", kMostRules, " rules on one path");
  }

  std::string_view texts_;
  std::vector<Unit> units_;
  std::vector<Node> nodes_;
  std::vector<uint32_t> first_;     // [units + 1]: where a base's children begin in children_
  std::vector<uint32_t> children_;  // the units that are children, by base
  std::vector<Step> path_;
  std::string_view name_;
  size_t at_;
};

}  // namespace

void check_charsmap(std::string_view table, std::string_view name, size_t offset) {
  const auto check = [&](bool condition, const auto&... parts) {
    HEDDLE_CHECK(condition, "sentencepiece: ", name, ": precompiled_charsmap at offset ", offset,
                 ": ", parts...);
  };
  uint32_t size = 0;
  check(table.size() > sizeof size, "found ", table.size(), " bytes; expected more than 4");
  std::memcpy(&size, table.data(), sizeof size);
  check(size % 4 == 0 && size >= 4 * kBlock && size < table.size() - sizeof size,
        "found a trie of ", size, " bytes; expected a multiple of 4 from ", 4 * kBlock,
        " to below ", table.size() - sizeof size, ", what follows");
  Walk(table.substr(sizeof size, size), table.substr(sizeof size + size), name, offset).run();
}

}  // namespace heddle::text
