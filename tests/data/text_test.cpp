// What hostile training text comes to: one test a case.
#include <gtest/gtest.h>

#include <sys/resource.h>

#include <string>

#include "heddle/base/error.h"
#include "heddle/base/random.h"
#include "tests/data/corpus_case.h"
#include "tests/io/files.h"

namespace heddle {
namespace {

using namespace heddle::testing;
using Pairs = std::vector<std::pair<std::string, std::string>>;

std::string repeated(std::string_view text, size_t count) {
  std::string result;
  for (size_t i = 0; i < count; ++i) result += text;
  return result;
}

TEST(TrainingText, TX01_EmptyFiles) {
  EXPECT_TRUE(read_two("", "").pairs.empty());
  EXPECT_EQ(read_two("", "").counts.lines, 0u);
  const ReadCorpus newline = read_two("\n", "\n");
  EXPECT_TRUE(newline.pairs.empty());
  EXPECT_EQ(newline.counts.empty_both, 1u);
  EXPECT_EQ(read_two("a\nb", "c\nd").pairs, (Pairs{{"a", "c"}, {"b", "d"}}));
  EXPECT_EQ(read_two("a\nb\n", "c\nd").pairs, (Pairs{{"a", "c"}, {"b", "d"}}));
}

TEST(TrainingText, TX02_CarriageReturns) {
  EXPECT_EQ(read_two("a\r\nb\r\n", "c\nd\r\n").pairs, (Pairs{{"a", "c"}, {"b", "d"}}));
  const ReadCorpus lone = read_two("a\rb\n", "c\n");
  EXPECT_EQ(lone.pairs, (Pairs{{"a b", "c"}}));
  EXPECT_EQ(lone.counts.faults.controls, 1u);
  EXPECT_EQ(read_one("a\tb\r\nc\td\r\n").pairs, (Pairs{{"a", "b"}, {"c", "d"}}));
}

TEST(TrainingText, TX03_OnlyNewlinesEndLines) {
  for (const std::string separator : {"\xC2\x85", "\xE2\x80\xA8", "\xE2\x80\xA9", "\v", "\f"}) {
    const ReadCorpus found = read_two("a" + separator + "b\nc\n", "d\ne\n");
    EXPECT_EQ(found.pairs, (Pairs{{"a b", "d"}, {"c", "e"}}));
    EXPECT_EQ(found.counts.faults.controls, 1u);
  }
}

TEST(TrainingText, TX04_ByteOrderMarks) {
  EXPECT_EQ(read_two("\xEF\xBB\xBF"
                     "a\n\xEF\xBB\xBF"
                     "b\n",
                     "c\nd\n")
                .pairs,
            (Pairs{{"a", "c"}, {"b", "d"}}));
  EXPECT_EQ(read_one("\xEF\xBB\xBF"
                     "a\tb\n")
                .pairs,
            (Pairs{{"a", "b"}}));
}

TEST(TrainingText, TX05_Utf16IsRefused) {
  expect_refused(
      [] {
        read_two(std::string("\xFF\xFE"
                             "a\0\n\0",
                             6),
                 "c\n");
      },
      {"a.en", "UTF-16", "iconv"});
  expect_refused([] { read_two("c\n", std::string("\xFE\xFF\0a\0\n", 6)); }, {"a.de", "UTF-16"});
}

TEST(TrainingText, TX06_NotUtf8IsReplacedAndCounted) {
  const std::string mark = "\xEF\xBF\xBD";
  const struct {
    std::string bytes, text;
    uint64_t faults;
  } cases[] = {{"\xC0\xAF", mark + mark, 2},
               {"\xED\xA0\x80", mark + mark + mark, 3},
               {"\xF5", mark, 1},
               {"\xFF", mark, 1},
               {"\x80", mark, 1},
               {"a\xE2\x82", "a" + mark, 1}};
  for (const auto& given : cases) {
    const ReadCorpus found = read_two(given.bytes + "\n", "x\n");
    EXPECT_EQ(found.pairs, (Pairs{{given.text, "x"}}));
    EXPECT_EQ(found.counts.faults.not_utf8, given.faults);
  }
}

TEST(TrainingText, TX07_NulIsASpace) {
  const ReadCorpus found = read_two(std::string("a\0b\n", 4), "c\n");
  EXPECT_EQ(found.pairs, (Pairs{{"a b", "c"}}));
  EXPECT_EQ(found.counts.faults.controls, 1u);
}

TEST(TrainingText, TX08_LongLinesAreLeftOut) {
  const std::string mega(size_t{1} << 20, 'x');
  EXPECT_EQ(read_two(mega + "\na\n", "b\nc\n").pairs.size(), 2u);  // at the limit
  const ReadCorpus found = read_two(mega + "y\na\n", "b\nc\n");
  EXPECT_EQ(found.pairs, (Pairs{{"a", "c"}}));
  EXPECT_EQ(found.counts.too_long_lines, 1u);
  EXPECT_EQ(read_two("b\na\n", repeated(mega, 64) + "\nc\n").pairs, (Pairs{{"a", "c"}}));
  const ReadCorpus spaces = read_two(std::string(1'000'000, ' ') + "\na\n", "b\nc\n");
  EXPECT_EQ(spaces.counts.empty_source, 1u);
}

TEST(TrainingText, TX09_CombiningBidiAndJoinedCharacters) {
  const std::string marks = "e" + repeated("\xCC\x81", 100'000);
  const std::string bidi =
      "\xE2\x80\xAE"
      "abc\xE2\x80\xAC";
  const std::string family = "\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7";
  EXPECT_EQ(read_two(marks + "\n" + bidi + "\n", bidi + "\n" + family + "\n").pairs,
            (Pairs{{marks, bidi}, {bidi, family}}));
}

TEST(TrainingText, TX10_EmptyLines) {
  const ReadCorpus found = read_two("\na\n \t\nb\n", "\nx\ny\n\n");
  EXPECT_EQ(found.pairs, (Pairs{{"a", "x"}}));
  EXPECT_EQ(found.counts.empty_both, 1u);
  EXPECT_EQ(found.counts.empty_source, 1u);
  EXPECT_EQ(found.counts.empty_target, 1u);
  EXPECT_EQ(found.counts.lines, 4u);
  EXPECT_EQ(read_one("a\tb\n\nc\td\n").counts.empty_both, 1u);
}

TEST(TrainingText, TX11_DifferentNumbersOfLines) {
  expect_refused([] { read_two("a\nb\nc\n", "x\ny\n"); }, {"a.en has 3 lines", "a.de has 2"});
  expect_refused([] { read_two("a\n", "x\ny\nz\n"); }, {"a.en has 1 lines", "a.de has 3"});
}

TEST(TrainingText, TX12_SlippedLinesRaiseAnAlarm) {
  Random random(7);
  std::string source, target, slipped;
  constexpr int kLines = 6000;
  for (int i = 0; i < kLines; ++i) {
    const size_t length = 3 + random.below(120);
    source += std::string(length, 'a') + "\n";
    const std::string line(length + random.below(length / 3 + 2), 'b');
    target += line + "\n";
    if (i != kLines / 2) slipped += line + "\n";
  }
  EXPECT_TRUE(read_two(source, target).counts.warnings().empty());
  const data::CorpusCounts counts = read_two(source, slipped + "b\n").counts;
  ASSERT_EQ(counts.warnings().size(), 1u);
  EXPECT_EQ(counts.suspicious, 6u);
  EXPECT_EQ(counts.suspicious_line, 3001u);
}

TEST(TrainingText, TX13_ColumnsOfATable) {
  expect_refused([] { read_one("a\tb\nc\n"); }, {"a.tsv: line 2", "found 1 columns", "expected 2"});
  expect_refused([] { read_one("a\tb\nc\td\te\n"); }, {"line 2", "found 3", "expected 2"});
  expect_refused([] { read_one("a\n"); }, {"line 1", "found 1", "at least 2"});
  data::CorpusFiles files = one_file("a.tsv");
  files.source_column = 2;
  files.target_column = 3;
  EXPECT_EQ(read_all(data::CorpusReader(files, 100, bytes_of_text("i\thuman\tx\ty\n"))).pairs,
            (Pairs{{"x", "y"}}));
}

// TX-14 is in cache_test.cpp: pairs stay pairs in every way to read them.

TEST(TrainingText, TX15_ColumnsThatNobodyNamedAreNotRead) {
  // Alignments guide nothing here: whatever stands in their column, the pair is read.
  EXPECT_EQ(read_one("a\tb\t0-\nc\td\t9-9\ne\tf\t\n").pairs.size(), 3u);
}

TEST(TrainingText, TX16_Weights) {
  data::CorpusFiles files = one_file("a.tsv");
  files.weight_column = 2;
  const auto read = [&files](const std::string& content) {
    return read_all(data::CorpusReader(files, 1000, bytes_of_text(content)));
  };
  EXPECT_EQ(read("a\tb\t0.5\nc\td\t2\n").weights, (std::vector<float>{0.5F, 2.0F}));
  for (const char* weight : {"nan", "-1", "", "inf", "1x", "1e300"}) {
    expect_refused([&] { read(std::string("a\tb\t") + weight + "\n"); }, {"a.tsv: line 1"});
  }
  expect_refused([&] { read("a\tb\n"); }, {"found 2 columns", "at least 3"});
}

TEST(TrainingText, TX19_JsonLines) {
  const std::string name = "a.jsonl";
  EXPECT_EQ(read_one(R"({"source":"a","target":"b"})"
                     "\n",
                     name)
                .pairs,
            (Pairs{{"a", "b"}}));
  data::CorpusFiles files = one_file(name);
  files.source_field = "translation.en";
  files.target_field = "translation.de";
  const std::string nested = R"({"translation": {"en": "a\tb", "de": "c"}})";
  EXPECT_EQ(read_all(data::CorpusReader(files, 1000, bytes_of_text(nested))).pairs,
            (Pairs{{"a\tb", "c"}}));
  const std::string good = R"({"source":"a","target":"b"})"
                           "\n";
  for (const char* bad : {"{", R"({"source":"a"})", R"({"source":"a","target":7})", "",
                          R"({"source":"a","source":"b","target":"c"})", R"(["a","b"])"}) {
    expect_refused([&] { read_one(good + bad + "\n", name); }, {"a.jsonl: line 2"});
  }
}

TEST(TrainingText, TX20_HostileJsonLines) {
  const std::string name = "a.jsonl";
  for (const std::string& text :
       {std::string(R"("\ud800")"), std::string(R"("\u0000")"), repeated("[", 10'000)}) {
    expect_refused([&] { read_one("{\"source\":" + text + ",\"target\":\"b\"}\n", name); },
                   {"a.jsonl: line 1"});
  }
  const std::string longest(100'000'000, 'x');
  expect_refused([&] { read_one(longest, name); }, {"line 1", "more than 1048576 bytes"},
                 longest.size());
}

TEST(TrainingText, TX22_OneFileOnBothSides) {
  const std::string text = "one\ntwo\nthree\n";
  const data::CorpusCounts counts = read_two(text, text).counts;
  EXPECT_EQ(counts.kept, 3u);
  ASSERT_EQ(counts.warnings().size(), 1u);
  EXPECT_NE(counts.warnings()[0].find("same text"), std::string::npos);
}

TEST(TrainingText, TX24_ManyTinyLinesInLittleMemory) {
  // Ten million lines, made as they are read.
  const auto lines = [](char letter) {
    return [letter, left = size_t{20'000'000}](char* target, size_t bytes) mutable {
      const size_t count = std::min(bytes, left);
      for (size_t i = 0; i < count; ++i) target[i] = (left - i) % 2 == 0 ? letter : '\n';
      left -= count;
      return count;
    };
  };
  const auto peak = [] {
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
  };
  const auto before = peak();
  data::CorpusReader reader(two_files(), kLongestTestLine, lines('a'), lines('b'));
  data::Pair pair;
  while (reader.next(pair)) {
  }
  EXPECT_EQ(reader.counts().kept, 10'000'000u);
  if (!kSanitized) {
    EXPECT_LE(peak() - before, 8 << 10);  // KiB
  }
}

}  // namespace
}  // namespace heddle
