// Lines cut into segments and joined again: always one line, with the spacing it had.
#include "heddle/text/segmenter.h"

#include <gtest/gtest.h>

#include <random>

#include "heddle/base/error.h"
#include "tests/text/model_builder.h"

namespace heddle::text {
namespace {

using Texts = std::vector<std::string>;
using namespace std::literals;

const Tokenizer& tokenizer() {
  static const Tokenizer instance = [] {
    TestModel model = small_model();
    model.byte_fallback = true;  // so that every text comes back as it was
    for (const TestPiece& piece : byte_pieces()) model.pieces.push_back(piece);
    return make_tokenizer(model.bytes(), "test.spm");
  }();
  return instance;
}

/// A translator that gives back what it was given.
Texts texts_of(const PreparedLine& line) {
  Texts texts;
  for (const auto& segment : line.segments) texts.push_back(tokenizer().decode(segment.tokens));
  return texts;
}

std::string through(const std::string& line, SegmentOptions options) {
  Segmenter segmenter(tokenizer(), options);
  const PreparedLine prepared = segmenter.prepare(line);
  return join(prepared, texts_of(prepared));
}

TEST(Segmenter, AShortLineIsOneSegment) {
  Segmenter segmenter(tokenizer());
  const PreparedLine line = segmenter.prepare("  the cat. the mat.\t");
  EXPECT_EQ(texts_of(line), Texts{"the cat. the mat."});
  EXPECT_EQ(join(line, Texts{"x"}), "  x\t");
  EXPECT_EQ(line.segments[0].tokens, tokenizer().encode("the cat. the mat."));
}

TEST(Segmenter, SplitsSentencesWhenAsked) {
  Segmenter segmenter(tokenizer(), {.split_sentences = true, .language = "en"});
  const PreparedLine line = segmenter.prepare(" The cat sat.  The mat is on.");
  EXPECT_EQ(texts_of(line), (Texts{"The cat sat.", "The mat is on."}));
  EXPECT_EQ(join(line, Texts{"A.", "B."}), " A.  B.");
}

TEST(Segmenter, LinesWithoutTextStayAsTheyAre) {
  for (const std::string& line : {""s, "   "s, "\t"s, "-----"s, " * * * "s, "🙂🙂"s, "…?!"s}) {
    Segmenter segmenter(tokenizer(), {.split_sentences = true});
    const PreparedLine prepared = segmenter.prepare(line);
    EXPECT_TRUE(prepared.segments.empty()) << line;
    EXPECT_EQ(join(prepared, {}), line);
  }
  Segmenter translating(tokenizer(), {.copy_symbols = false});
  EXPECT_EQ(translating.prepare("-----").segments.size(), 1u);
  EXPECT_EQ(translating.prepare("  ").segments.size(), 0u);
}

TEST(Segmenter, AMillionSpacesStayALine) {
  const std::string line(1'000'000, ' ');
  EXPECT_EQ(through(line, {}), line);
}

TEST(Segmenter, CutsLongLinesAtSentencesFirst) {
  Segmenter segmenter(tokenizer(), {.longest = 8});
  const PreparedLine line = segmenter.prepare("The cat sat. The cat is on the mat. Hello.");
  for (const auto& segment : line.segments) EXPECT_LE(segment.tokens.size(), 8u);
  EXPECT_EQ(texts_of(line)[0], "The cat sat.");
  EXPECT_EQ(texts_of(line).back(), "Hello.");
}

TEST(Segmenter, CutsBehindPunctuationThenAtSpaces) {
  EXPECT_EQ(find_cut("one two, three four", 14), 8u);
  EXPECT_EQ(find_cut("one two three four", 14), 13u);
  EXPECT_EQ(find_cut("It is. He, too, was", 14), 10u);
  EXPECT_EQ(find_cut("It was. He, too, was", 12), 7u);
  EXPECT_EQ(find_cut("abcdefghijklmn", 10), 10u);
  EXPECT_EQ(find_cut("日本語日本語", 10), 9u);
  EXPECT_EQ(find_cut("日本語。日本語", 14), 12u);
  EXPECT_EQ(find_cut("日本", 1), 3u);
  EXPECT_EQ(find_cut("xxxxxa\u0301", 6), 5u);  // not between a letter and its accent
}

TEST(Segmenter, LongLinesComeBackWithTheirSpacing) {
  std::string words, sentences, glued = "x";
  for (int i = 0; i < 400; ++i) {
    words += i % 7 == 0 ? "cat  " : "the ";
    sentences += "The cat sat on the mat, and that is that.  Hello world! ";
    glued += "abcdefg"[i % 7];
  }
  for (const size_t longest : {5, 16, 40, 1000}) {
    for (const std::string& line : {words, sentences, glued}) {
      // The model joins spaces within a segment, so that runs of them are compared as one.
      const auto single = [](std::string text) {
        for (size_t at; (at = text.find("  ")) != text.npos;) text.erase(at, 1);
        return text;
      };
      EXPECT_EQ(single(through(line, {.longest = longest})), single(line)) << longest;
    }
  }
}

TEST(Segmenter, EverySegmentIsShortEnough) {
  std::mt19937 random(3);
  const Texts alphabet{"a", " ",      ".",   ",",    "ä",   "日",    "。",
                       "😀", "\u0301", "the", "\xFF", "\0"s, "\u2028"};
  for (int round = 0; round < 300; ++round) {
    std::string line;
    for (unsigned i = random() % 200; i > 0; --i) line += alphabet[random() % alphabet.size()];
    SegmentOptions options;
    options.longest = 4 + random() % 20;
    options.split_sentences = random() % 2 == 0;
    Segmenter segmenter(tokenizer(), options);
    const PreparedLine prepared = segmenter.prepare(line);
    for (const auto& segment : prepared.segments) {
      ASSERT_LE(segment.tokens.size(), options.longest);
    }
    ASSERT_EQ(join(prepared, texts_of(prepared)).find_first_of("\n\r"), std::string::npos);
  }
}

TEST(Segmenter, ALineOfAMegabyte) {
  for (const std::string& part : {"a"s, "word "s, "日"s, "\u0301"s, "ﷺ"s}) {
    const size_t bytes = part == "word " ? size_t{1} << 20 : size_t{1} << 16;
    std::string line;
    while (line.size() < bytes) line += part;
    Segmenter segmenter(tokenizer(), {.longest = 128});
    const PreparedLine prepared = segmenter.prepare(line);
    size_t tokens = 0;
    for (const auto& segment : prepared.segments) {
      ASSERT_LE(segment.tokens.size(), 128u);
      tokens += segment.tokens.size();
    }
    if (part != "\u0301") {  // marks alone are no text
      EXPECT_GE(prepared.segments.size(), tokens / 128);
      EXPECT_LE(prepared.segments.size(), tokens / 32);
    }
  }
}

TEST(Segmenter, AddsAndLeavesOutSpacesBetweenLanguages) {
  Segmenter segmenter(tokenizer(), {.split_sentences = true, .language = "ja"});
  const PreparedLine japanese = segmenter.prepare("これは文です。次の文。");
  ASSERT_EQ(japanese.segments.size(), 2u);
  EXPECT_EQ(join(japanese, Texts{"One is.", "Two is."}), "One is. Two is.");
  EXPECT_EQ(join(japanese, Texts{"甲。", "乙。"}), "甲。乙。");
  Segmenter english(tokenizer(), {.split_sentences = true, .language = "en"});
  const PreparedLine spaced = english.prepare("One is. Two is.");
  EXPECT_EQ(join(spaced, Texts{"甲。", "乙。"}), "甲。乙。");
  EXPECT_EQ(join(spaced, Texts{"A.", "B."}), "A. B.");
}

TEST(Segmenter, CutsInsideAWordLeaveNoSpace) {
  Segmenter segmenter(tokenizer(), {.longest = 4});
  const PreparedLine line = segmenter.prepare("abcdefghij");
  ASSERT_GT(line.segments.size(), 1u);
  EXPECT_EQ(join(line, texts_of(line)), "abcdefghij");
}

TEST(Segmenter, NothingAddsLineBreaks) {
  Segmenter segmenter(tokenizer());
  const PreparedLine line = segmenter.prepare("a\r\nb\0c\u2028d"s);
  ASSERT_EQ(line.segments.size(), 1u);
  EXPECT_EQ(texts_of(line), Texts{"a b c d"});
  EXPECT_EQ(join(line, Texts{"x\ny\rz"}), "x y z");
  EXPECT_EQ(segmenter.faults().controls, 4u);
  EXPECT_THROW(join(line, {}), Error);
}

}  // namespace
}  // namespace heddle::text
