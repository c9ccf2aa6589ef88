// Sources for teachers, and the choice among their translations.
#include <gtest/gtest.h>

#include "heddle/base/error.h"
#include "heddle/data/selection.h"
#include "tests/data/corpus_case.h"
#include "tests/io/files.h"

namespace heddle {
namespace {

using namespace heddle::testing;
using data::Choice;
using data::SelectionCounts;
using data::SelectionSettings;

class Selection : public FolderTest {
 protected:
  data::CorpusFiles table(const std::string& name, const std::string& text) {
    write(name, text);
    data::CorpusFiles files;
    files.pairs = path(name);
    return files;
  }

  SelectionCounts select(const SelectionSettings& settings) {
    ThreadPool threads(2);
    return data::select_translations(
        {path("sources"), path("references"), path("translations"), path("out")}, settings,
        threads);
  }

  void expect_no_selection(const std::string& translations, const char* part,
                           bool numbered = true) {
    write("translations", translations);
    try {
      select({.numbered = numbered});
      FAIL() << "taken: " << translations;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  }
};

TEST_F(Selection, SourcesAreWrittenOnceWithTheirFirstReference) {
  const auto counts =
      data::write_sources({table("a.tsv", "one\teins\ntwo\tzwei\none\tein\n"),
                           table("b.tsv", "two\tzwo\nthree\tdrei\n")},
                          {table("dev.tsv", "three\tdrei\n")}, path("sources"), path("references"));
  EXPECT_EQ(read("sources"), "one\ntwo\n");
  EXPECT_EQ(read("references"), "eins\nzwei\n");
  EXPECT_EQ(counts.pairs, 5u);
  EXPECT_EQ(counts.kept, 2u);
  EXPECT_EQ(counts.repeated, 2u);
  EXPECT_EQ(counts.held_out, 1u);
  EXPECT_THROW(
      data::write_sources({table("c.tsv", "three\tdrei\n")}, {table("d.tsv", "three\tx\n")},
                          path("sources"), path("references")),
      Error);
}

TEST_F(Selection, TakesTheMostProbableOrTheNearest) {
  write("sources", "the cat sat on the mat\nwhat a day it is\n");
  write("references", "die Katze saß auf der Matte\nwas für ein Tag das ist\n");
  write("translations",
        "0\tder Hund lief auf der Matte\t-0.1\n0\tdie Katze saß auf der Matte\t-0.5\n"
        "1\twas ein Tag\t-0.25\n1\twas für ein Tag es ist\t-1.5\n1\tTag\t-0.125\n");
  SelectionCounts counts = select({.choice = Choice::score});
  EXPECT_EQ(read("out"),
            "the cat sat on the mat\tder Hund lief auf der Matte\n"
            "what a day it is\tTag\n");
  EXPECT_EQ(counts.kept, 2u);
  EXPECT_NEAR(counts.mean_score, -0.1125, 1e-9);
  EXPECT_EQ(counts.least_score, -0.125);
  const double by_score = counts.bleu;
  counts = select({.choice = Choice::bleu});
  EXPECT_EQ(read("out"),
            "the cat sat on the mat\tdie Katze saß auf der Matte\n"
            "what a day it is\twas für ein Tag es ist\n");
  EXPECT_GT(counts.bleu, by_score + 20);
}

TEST_F(Selection, LeavesOutWhatIsEmptyOfABadLengthOrImprobable) {
  std::string sources, references, translations;
  for (int i = 0; i < 10; ++i) {
    sources += str("source ", i, "\n");
    references += "Ziel\n";
  }
  translations = "ok\t-0.1\tok:-0.1\nok\t-0.2\n \t-0.0\nla la la la la la la la la la\t-0.1\n";
  for (int i = 4; i < 10; ++i) translations += str("ok\t-", i, "\n");
  write("sources", sources);
  write("references", references);
  write("translations", translations);
  const SelectionSettings settings{.numbered = false, .drop_worst = 0.25, .max_length_ratio = 2};
  const SelectionCounts counts = select(settings);
  EXPECT_EQ(counts.summary(),
            "10 sources, 6 kept, 4 left out (1 empty, 1 of a bad length, 2 improbable)");
  EXPECT_EQ(read("out"),
            "source 0\tok\nsource 1\tok\nsource 4\tok\nsource 5\tok\nsource 6\tok\n"
            "source 7\tok\n");
  EXPECT_EQ(counts.least_score, -7);
  EXPECT_EQ(select({.numbered = false}).kept, 9u);  // without filters
}

TEST_F(Selection, RefusesFilesThatDoNotBelongTogether) {
  write("sources", "a\nb\n");
  write("references", "x\ny\n");
  expect_no_selection("0\tu\t-1\n", "no translation of source 1");
  expect_no_selection("0\tu\t-1\n2\tv\t-1\n", "no translation of source 1");
  expect_no_selection("0\tu\t-1\n1\tv\t-1\n2\tw\t-1\n", "a translation of source 2");
  expect_no_selection("0\tu\t-1\n1\tv\n", "line 2: expected its number");
  expect_no_selection("0\tu\t-1\nx1\tv\t-1\n", "line 2: expected its number");
  expect_no_selection("0\tu\t-1\n1\tv\tbad\n", "line 2: expected its number");
  expect_no_selection("u\nv\nw\n", "a translation of source 2", false);
  expect_no_selection("u\nv\tbad\n", "text and score", false);
  write("references", "x\n");
  expect_no_selection("0\tu\t-1\n1\tv\t-1\n", "expected as many");
  write("references", "x\ny\n");
  write("translations", "\n\n");
  EXPECT_THROW(select({.numbered = false}), Error);  // nothing is left
  EXPECT_THROW(select({.drop_worst = 1}), Error);
  EXPECT_THROW(select({.max_length_ratio = 0.5}), Error);
}

}  // namespace
}  // namespace heddle
