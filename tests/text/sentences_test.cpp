// Where sentences end.
#include "heddle/text/sentences.h"

#include <gtest/gtest.h>

#include <string>

namespace heddle::text {
namespace {

using Texts = std::vector<std::string>;

Texts split(const std::string& text, const std::string& language) {
  Texts texts;
  for (const Span span : split_sentences(text, language)) {
    texts.push_back(text.substr(span.begin, span.end - span.begin));
  }
  return texts;
}

TEST(Sentences, SplitsAtTheEnds) {
  EXPECT_EQ(split("One is here. Two is there! Three?", "en"),
            (Texts{"One is here.", "Two is there!", "Three?"}));
  EXPECT_EQ(split("Only one", "en"), Texts{"Only one"});
  EXPECT_EQ(split("Version 3.1 is at example.com/a.b.", "en"),
            Texts{"Version 3.1 is at example.com/a.b."});
  EXPECT_EQ(split("And so ... it goes. Yes.", "en"), (Texts{"And so ... it goes.", "Yes."}));
}

TEST(Sentences, LeavesOutSpacesAround) {
  EXPECT_EQ(split("  One is.   Two is. \t", "en"), (Texts{"One is.", "Two is."}));
  EXPECT_EQ(split(" only ", "en"), Texts{"only"});
  EXPECT_EQ(split("\u00A0 x\u3000", "en"), Texts{"x"});
  EXPECT_EQ(split("", "en"), Texts{});
  EXPECT_EQ(split(" \u3000\t", "en"), Texts{});
}

TEST(Sentences, KnowsEnglishAbbreviations) {
  const std::string text =
      "Mr. Smith went to Washington yesterday. He saw J. R. Smith on No. 5, e.g. The White House. "
      "It was late.";
  EXPECT_EQ(split(text, "en"),
            (Texts{"Mr. Smith went to Washington yesterday.",
                   "He saw J. R. Smith on No. 5, e.g. The White House.", "It was late."}));
  EXPECT_EQ(split("The answer is no. The rest follows.", "en"),
            (Texts{"The answer is no.", "The rest follows."}));
  EXPECT_EQ(split("See Fig. 3. It shows all.", "en"), (Texts{"See Fig. 3.", "It shows all."}));
}

TEST(Sentences, GoesOnBeforeASmallLetter) {
  EXPECT_EQ(split("\"Really?\" she asked. \"Yes!\"", "en"),
            (Texts{"\"Really?\" she asked.", "\"Yes!\""}));
}

TEST(Sentences, KeepsTheNumbersOfLists) {
  EXPECT_EQ(split("1. Open the file. 2. Close the file.", "en"),
            (Texts{"1. Open the file.", "2. Close the file."}));
}

TEST(Sentences, KnowsGermanOrdinalsAndAbbreviations) {
  const std::string text = "Am 3. Oktober kam Dr. Müller z.B. Montags nach Hause. Er war müde.";
  EXPECT_EQ(split(text, "de"),
            (Texts{"Am 3. Oktober kam Dr. Müller z.B. Montags nach Hause.", "Er war müde."}));
  EXPECT_EQ(split("We were 3. Then more came.", "en"), (Texts{"We were 3.", "Then more came."}));
}

TEST(Sentences, KnowsPortugueseAndTheRegionDoesNotMatter) {
  const std::string text = "O Sr. João chegou às 15h. A Dra. Maria não.";
  const Texts expected{"O Sr. João chegou às 15h.", "A Dra. Maria não."};
  EXPECT_EQ(split(text, "pt"), expected);
  EXPECT_EQ(split(text, "pt-BR"), expected);
  EXPECT_EQ(split(text, "pt_BR"), expected);
}

TEST(Sentences, SplitsWhereNoSpacesAreWritten) {
  EXPECT_EQ(split("これは文です。次の文。はい！", "ja"),
            (Texts{"これは文です。", "次の文。", "はい！"}));
  EXPECT_EQ(split("यह एक वाक्य है। यह दूसरा है।", "hi"), (Texts{"यह एक वाक्य है।", "यह दूसरा है।"}));
  EXPECT_EQ(split("مرحبا؟ نعم.", "ar"), (Texts{"مرحبا؟", "نعم."}));
}

TEST(Sentences, TakesAnyLanguageName) {
  for (const char* language : {"", "xx", "a-language-nobody-has-heard-of-before", "../../etc"}) {
    EXPECT_EQ(split("One is. Two is.", language), (Texts{"One is.", "Two is."})) << language;
  }
}

TEST(Sentences, TheShortWayForAsciiGivesTheSame) {
  // A trailing character outside ASCII leads through ICU.
  for (const std::string text : {"a b c", "a. B", "x... Y", "a.b.c", "Hm?! \"Yes.\" (No.) ok",
                                 "e.g. this", "end.\"", "a.) B"}) {
    Texts plain = split(text, "en");
    Texts icu = split(text + " é", "en");
    std::string joined_plain, joined_icu;
    for (const auto& part : plain) joined_plain += part + "|";
    for (const auto& part : icu) joined_icu += part + "|";
    EXPECT_EQ(joined_icu.substr(0, joined_plain.size() - 1),
              joined_plain.substr(0, joined_plain.size() - 1))
        << text;
  }
}

}  // namespace
}  // namespace heddle::text
