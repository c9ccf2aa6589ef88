// Marian's binary shortlists: what is in them, and what is refused.
#include "heddle/decode/shortlist.h"

#include <gtest/gtest.h>

#include <cstring>
#include <set>

#include "heddle/base/error.h"
#include "heddle/base/random.h"
#include "tests/decode/shortlist_file.h"

namespace heddle::decode {
namespace {

using test::ShortlistFile;

Shortlist parse(const std::string& bytes, int64_t vocabulary = 100) {
  return Shortlist(io::Source(std::as_bytes(std::span(bytes)), "lex.bin"), vocabulary);
}

std::string refusal(const std::string& bytes, int64_t vocabulary = 100) {
  try {
    parse(bytes, vocabulary);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

ShortlistFile small_file() {
  ShortlistFile file;
  file.first = 3;
  file.lists = {{}, {5, 40, 41}, {}, {2, 99}, {7}};
  return file;
}

TEST(Shortlist, CandidatesAreTheFirstAndTheLists) {
  const Shortlist shortlist = parse(small_file().bytes());
  EXPECT_EQ(shortlist.source_vocabulary(), 5);
  const std::vector<int32_t> source{1, 3, 1, 77, -1};
  // 0 1 2 | 5 40 41 | 2 99, filled up to eight from the first that is free.
  EXPECT_EQ(shortlist.candidates(source), (std::vector<int32_t>{0, 1, 2, 3, 5, 40, 41, 99}));
  EXPECT_EQ(shortlist.candidates({}), (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(Shortlist, SharedVocabulariesOfferTheSourceTokens) {
  Shortlist shortlist = parse(small_file().bytes());
  shortlist.set_shared(true);
  const std::vector<int32_t> source{4};
  EXPECT_EQ(shortlist.candidates(source), (std::vector<int32_t>{0, 1, 2, 3, 4, 5, 6, 7}));
}

TEST(Shortlist, VocabularyOfAnyLengthIsFilledAsFarAsItGoes) {
  ShortlistFile file;
  file.first = 2;
  file.lists = {{4}};
  const Shortlist shortlist = parse(file.bytes(), 5);
  EXPECT_EQ(shortlist.candidates(std::vector<int32_t>{0}), (std::vector<int32_t>{0, 1, 2, 3, 4}));
}

TEST(Shortlist, CandidatesEqualThePlainUnion) {
  Random random(5);
  ShortlistFile file;
  file.first = 10;
  for (int token = 0; token < 50; ++token) {
    std::set<int32_t> ids;
    for (uint64_t n = random.below(20); n > 0; --n)
      ids.insert(static_cast<int32_t>(random.below(500)));
    file.lists.emplace_back(ids.begin(), ids.end());
  }
  const Shortlist shortlist = parse(file.bytes(), 500);
  for (int run = 0; run < 100; ++run) {
    std::vector<int32_t> source;
    for (uint64_t n = random.below(20); n > 0; --n)
      source.push_back(static_cast<int32_t>(random.below(50)));
    std::set<int32_t> expected;
    for (int32_t id = 0; id < 10; ++id) expected.insert(id);
    for (const int32_t token : source) {
      const auto& list = file.lists[static_cast<size_t>(token)];
      expected.insert(list.begin(), list.end());
    }
    for (int32_t id = 10; expected.size() % 8 != 0; ++id) expected.insert(id);
    EXPECT_EQ(shortlist.candidates(source), std::vector<int32_t>(expected.begin(), expected.end()));
  }
}

TEST(Shortlist, EveryTruncationIsRefused) {
  const std::string bytes = small_file().bytes();
  for (size_t length = 0; length < bytes.size(); ++length) {
    EXPECT_NE(refusal(bytes.substr(0, length)), "accepted") << length;
  }
  EXPECT_NE(refusal(bytes + "x"), "accepted");
}

TEST(Shortlist, EveryFlippedByteIsRefusedOrHarmless) {
  const std::string bytes = small_file().bytes();
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x41);
    EXPECT_NE(refusal(damaged), "accepted") << "byte " << at;
  }
}

TEST(Shortlist, RefusalsNameTheField) {
  ShortlistFile file = small_file();
  file.lists[1] = {5, 100};
  EXPECT_NE(refusal(file.bytes()).find("id 100"), std::string::npos);
  file = small_file();
  EXPECT_NE(refusal(file.bytes(), 2).find("first tokens"), std::string::npos);
  file.offsets = {0, 0, 3, 2, 5, 6};
  EXPECT_NE(refusal(file.bytes()).find("offset 3"), std::string::npos);
  file.offsets = {0, 0, 3, 3, 5, 7};
  EXPECT_NE(refusal(file.bytes()).find("offset 5"), std::string::npos);
  file.offsets = {1, 1, 3, 3, 5, 6};
  EXPECT_NE(refusal(file.bytes()).find("offset 0"), std::string::npos);
  file = small_file();
  file.magic = 1;
  EXPECT_NE(refusal(file.bytes()).find("magic"), std::string::npos);
  file = small_file();
  file.offset_count = uint64_t{1} << 61;  // times 8 wraps
  EXPECT_NE(refusal(file.bytes()).find("offsets"), std::string::npos);
  file = small_file();
  file.id_count = (uint64_t{1} << 62) + 6;  // times 4 wraps
  EXPECT_NE(refusal(file.bytes()).find("complete"), std::string::npos);
}

}  // namespace
}  // namespace heddle::decode
