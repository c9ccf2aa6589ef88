#include "heddle/io/hash64.h"

#include <gtest/gtest.h>

#include <string>

#include "tests/io/files.h"

namespace heddle::io {
namespace {

TEST(Hash64, PublishedValues) {
  EXPECT_EQ(hash64(""), 0xEF46DB3751D8E999u);
  EXPECT_EQ(hash64("a"), 0xD24EC4F1A98C6E5Bu);
  EXPECT_EQ(hash64("abc"), 0x44BC2CF5AD770999u);
  EXPECT_EQ(hash64("Nobody inspects the spammish repetition"), 0xFBCEA83C8A378BF1u);
  EXPECT_EQ(hex64(0xEF46DB3751D8E999u), "ef46db3751d8e999");
}

TEST(Hash64, PiecesGiveTheSameAsTheWhole) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 31);
  for (size_t cut = 0; cut <= text.size(); ++cut) {
    Hash64 hash;
    hash.add(std::string_view(text).substr(0, cut));
    hash.add(std::string_view(text).substr(cut));
    EXPECT_EQ(hash.value(), hash64(text));
  }
}

class HashFile : public testing::FolderTest {};

TEST_F(HashFile, IsThatOfItsContent) {
  const std::string content(3'000'001, 'x');
  EXPECT_EQ(hash_file(write("a", content)), hash64(content));
  EXPECT_EQ(hash_file(write("b", "")), hash64(""));
}

}  // namespace
}  // namespace heddle::io
