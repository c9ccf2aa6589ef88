// UTF-8 and case TX-06, and what a line is made of before it is tokenised (TX-02, 03, 04, 07, 09).
#include "heddle/text/utf8.h"

#include <gtest/gtest.h>

#include "heddle/text/normalize.h"

namespace heddle::text {
namespace {

using namespace std::literals;

std::string repaired(std::string_view bytes) {
  std::string text;
  append_repaired(text, bytes);
  return text;
}

TEST(Utf8, EveryCodePointComesBack) {
  for (char32_t value = 0; value < 0x110000; ++value) {
    if (value >= 0xD800 && value < 0xE000) continue;
    std::string text;
    append_utf8(text, value);
    const CodePoint point = decode_utf8(text, 0);
    ASSERT_TRUE(point.valid && point.value == value &&
                static_cast<size_t>(point.bytes) == text.size())
        << static_cast<uint32_t>(value);
    ASSERT_TRUE(is_valid_utf8(text));
  }
}

TEST(Utf8, Tx06FaultsAreMaximalSubparts) {
  const std::string_view fffd = kReplacementUtf8;
  const auto times = [&](int count) {
    std::string text;
    for (int i = 0; i < count; ++i) text += fffd;
    return text;
  };
  EXPECT_EQ(repaired("\xC0\xAF"), times(2));          // overlong
  EXPECT_EQ(repaired("\xE0\x80\xAF"), times(3));      // overlong
  EXPECT_EQ(repaired("\xED\xA0\x80"), times(3));      // surrogate
  EXPECT_EQ(repaired("\xF4\x90\x80\x80"), times(4));  // above U+10FFFF
  EXPECT_EQ(repaired("\xF5\xFE\xFF"), times(3));
  EXPECT_EQ(repaired("a\x80z"), "a" + times(1) + "z");  // lone continuation
  EXPECT_EQ(repaired("a\xE2\x82"), "a" + times(1));     // cut off
  EXPECT_EQ(repaired("\xF0\x9F\x98z"), times(1) + "z");
  EXPECT_EQ(repaired("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                     "A"),
            times(4) + "A");  // Unicode's table 3-8
  EXPECT_EQ(repaired("äö日😀"), "äö日😀");
}

TEST(Utf8, ValidityLooksAtEveryByte) {
  for (size_t at = 0; at < 40; ++at) {
    std::string text(40, 'x');
    EXPECT_TRUE(is_valid_utf8(text));
    text[at] = '\x80';
    EXPECT_FALSE(is_valid_utf8(text)) << at;
  }
  EXPECT_TRUE(is_valid_utf8(""));
  EXPECT_EQ(count_code_points("aä日😀\xFF"), 5u);
}

struct Outcome {
  std::string text;
  LineFaults faults;
};

Outcome normalized(std::string_view line) {
  Outcome outcome;
  std::string storage = "left over";
  outcome.text = normalize_line(line, storage, outcome.faults);
  return outcome;
}

TEST(NormalizeLine, LeavesGoodLinesWhereTheyAre) {
  std::string storage;
  LineFaults faults;
  for (const std::string_view line : {""sv, "plain"sv, "tab\tand  spaces "sv, "äöü 日本 😀"sv}) {
    EXPECT_EQ(normalize_line(line, storage, faults).data(), line.data());
  }
  EXPECT_EQ(faults.not_utf8 + faults.controls, 0u);
}

TEST(NormalizeLine, Tx02CarriageReturnsInsideBecomeSpaces) {
  EXPECT_EQ(normalized("a\rb\r").text, "a b ");
}

TEST(NormalizeLine, Tx03SeparatorsBecomeSpaces) {
  const Outcome outcome = normalized("a\u0085b\u2028c\u2029d\ve\ff");
  EXPECT_EQ(outcome.text, "a b c d e f");
  EXPECT_EQ(outcome.faults.controls, 5u);
}

TEST(NormalizeLine, Tx04ByteOrderMarksInsideVanish) {
  EXPECT_EQ(normalized("a\uFEFFb").text, "ab");
  EXPECT_EQ(normalized("\uFEFF").text, "");
}

TEST(NormalizeLine, Tx06FaultsAreReplacedAndCounted) {
  const Outcome outcome = normalized(
      "a\xFF\xFE"
      "b\xE2\x82");
  EXPECT_EQ(outcome.text, "a\uFFFD\uFFFDb\uFFFD");
  EXPECT_EQ(outcome.faults.not_utf8, 3u);
}

TEST(NormalizeLine, Tx07NulBecomesASpace) {
  EXPECT_EQ(normalized("a\0b\x1b[0m\x7f"sv).text, "a b [0m ");
}

TEST(NormalizeLine, Tx09MarksAndEmojiStay) {
  std::string marks = "a";
  for (int i = 0; i < 100'000; ++i) marks += "\u0301";
  for (const std::string& line :
       {marks, "\u202Eabc\u202C \u2067x\u2069"s, "👩‍👩‍👧‍👦 🏳️‍🌈"s}) {
    EXPECT_EQ(normalized(line).text, line);
  }
}

}  // namespace
}  // namespace heddle::text
