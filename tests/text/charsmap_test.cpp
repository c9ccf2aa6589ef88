// Case SP-07: the normalisation table, whose trie SentencePiece follows without looking at its
// bounds.
#include "heddle/text/charsmap.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/text/tokenizer.h"
#include "tests/text/model_builder.h"

namespace heddle::text {
namespace {

/// A double array written by hand: blocks of 256 units, the children of a node in one block.
class Trie {
 public:
  static constexpr uint32_t kBlock = 256;
  static constexpr uint32_t kRoot = kBlock;  // base of the root

  /// Unused units carry the mark of values, so that no byte leads to them.
  explicit Trie(uint32_t blocks = 8) : units(size_t{blocks} * kBlock, 1u << 31) {
    link(0, kRoot, 0);
  }

  /// Node at `base`: the byte leads to the node at `next`, where a rule may end.
  void child(uint32_t base, uint8_t byte, uint32_t next, bool ends_rule = false) {
    link(base ^ byte, next, byte | (ends_rule ? 1u << 8 : 0));
  }

  void value(uint32_t base, uint32_t text) { units[base] = 1u << 31 | text; }

  std::string table(std::string_view texts) const {
    const auto size = static_cast<uint32_t>(units.size() * 4);
    std::string bytes(4 + size, '\0');
    std::memcpy(bytes.data(), &size, 4);
    std::memcpy(bytes.data() + 4, units.data(), size);
    return bytes + std::string(texts);
  }

  std::vector<uint32_t> units;

 private:
  void link(uint32_t unit, uint32_t next, uint32_t low_bits) {
    units[unit] = (unit ^ next) << 10 | low_bits;
  }
};

using namespace std::literals;

/// "A" becomes "a", "AB" becomes "xyz".
Trie good_trie() {
  Trie trie;
  trie.child(Trie::kRoot, 'A', 512, true);
  trie.value(512, 0);
  trie.child(512, 'B', 768, true);
  trie.value(768, 2);
  return trie;
}

constexpr std::string_view kTexts = "a\0xyz\0"sv;

std::string table_refusal(const std::string& table) {
  try {
    check_charsmap(table, "v.spm", 77);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

void expect_table_refused(const std::string& table, const std::string& part) {
  EXPECT_NE(table_refusal(table).find(part), std::string::npos) << table_refusal(table);
}

TEST(Charsmap, Sp07TwinOfTheDamagedOnesWorks) {
  const std::string table = good_trie().table(kTexts);
  EXPECT_EQ(table_refusal(table), "accepted");
  TestModel model = small_model();
  model.charsmap = table;
  const Tokenizer tokenizer = make_tokenizer(model.bytes(), "v.spm");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("AB bA")), "xyz ba");
}

TEST(Charsmap, Sp07Sizes) {
  const std::string table = good_trie().table(kTexts);
  for (const size_t length : {size_t{1}, size_t{4}, size_t{5}, table.size() - kTexts.size()}) {
    expect_table_refused(table.substr(0, length), "expected");
  }
  const auto with_size = [&](uint32_t size) {
    std::string changed = table;
    std::memcpy(changed.data(), &size, 4);
    return changed;
  };
  for (const uint32_t size : {0u, 4u, 1020u, 1025u, 1u << 30, ~0u, ~0u - 3}) {
    expect_table_refused(with_size(size), "found a trie of");
  }
}

TEST(Charsmap, Sp07RootOutside) {
  Trie trie = good_trie();
  trie.units[0] = (1u << 20) << 10;
  expect_table_refused(trie.table(kTexts), "found a node at unit");
  trie.units[0] = ~0u;
  expect_table_refused(trie.table(kTexts), "found a node at unit");
}

TEST(Charsmap, Sp07NodeOutside) {
  Trie trie = good_trie();
  trie.child(Trie::kRoot, 'C', 8 * Trie::kBlock);
  expect_table_refused(trie.table(kTexts), "found a node at unit 2048");
}

TEST(Charsmap, Sp07Texts) {
  const auto with = [](uint32_t text, std::string_view texts) {
    Trie trie = good_trie();
    trie.value(512, text);
    return trie.table(texts);
  };
  EXPECT_EQ(table_refusal(with(2, kTexts)), "accepted");
  expect_table_refused(with(6, kTexts), "expected below 6");
  expect_table_refused(with(0x7FFFFFFF, kTexts), "expected below 6");
  expect_table_refused(with(0, "abc"), "found no end of the text");
  expect_table_refused(with(0, std::string(300, 'x') + "\0xyz\0"s), "within 256 bytes");
  expect_table_refused(with(0, "\xFF\0xyz\0"sv), "not UTF-8");
}

TEST(Charsmap, Sp07Circles) {
  Trie itself = good_trie();
  itself.child(512, 'C', 512);
  expect_table_refused(itself.table(kTexts), "a circle");
  Trie far = good_trie();
  far.child(768, 'D', Trie::kRoot);
  expect_table_refused(far.table(kTexts), "a circle");
  Trie shared = good_trie();  // two ways to one node are no circle
  shared.child(Trie::kRoot, 'D', 768, true);
  EXPECT_EQ(table_refusal(shared.table(kTexts)), "accepted");
}

/// A path of `length` bytes 'A', every node of which ends a rule if asked to.
std::string chain(uint32_t length, bool rules) {
  Trie trie(length + 4);
  uint32_t base = Trie::kRoot;
  for (uint32_t i = 0; i < length; ++i) {
    trie.child(base, 'A', base + Trie::kBlock, rules);
    base += Trie::kBlock;
    if (rules) trie.value(base, 0);
  }
  return trie.table(kTexts);
}

TEST(Charsmap, Sp07LongPaths) {
  EXPECT_EQ(table_refusal(chain(32, true)), "accepted");
  expect_table_refused(chain(33, true), "more than 32 rules");
  EXPECT_EQ(table_refusal(chain(256, false)), "accepted");
  expect_table_refused(chain(257, false), "more than 256 bytes");
}

}  // namespace
}  // namespace heddle::text
