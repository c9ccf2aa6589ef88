// Texts as lines and as texts again.
#include "heddle/serve/document.h"

#include <gtest/gtest.h>

#include "tests/serve/translations.h"

namespace heddle::serve {
namespace {

decode::Variant variant_of(std::string text, double score) {
  decode::Variant variant;
  variant.text = std::move(text);
  variant.score = score;
  return variant;
}

TEST(Document, AsManyLinesOutAsIn) {
  const std::vector<std::string> texts{"", "\n", "a", "a\n", "\na\n\nb", "a\r\nb\r\n", "\r\n\r\n"};
  Document document(texts);
  const std::vector<std::string> lines = document.take_lines();
  EXPECT_EQ(lines, (std::vector<std::string>{"a", "a", "a", "b", "a", "b"}));
  for (size_t i = lines.size(); i > 0; --i) {
    document.put(i - 1, translation_of("<" + lines[i - 1] + ">"));
  }
  EXPECT_EQ(document.lines_done(), document.lines());
  const std::vector<std::string> expected{"",           "\n",  "<a>", "<a>\n", "\n<a>\n\n<b>",
                                          "<a>\n<b>\n", "\n\n"};
  ASSERT_EQ(document.texts(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_EQ(document.joined(i, 0).text, expected[i]) << i;
    EXPECT_EQ(document.variants(i), 0u);
  }
}

TEST(Document, VariantsOfSeveralLines) {
  Document document({"a\nb"});
  decode::Translation first, second;
  first.variants = {variant_of("a1", -1), variant_of("a2", -2)};
  second.variants = {variant_of("b1", -4)};
  document.put(1, std::move(second));
  EXPECT_EQ(document.place(0).translation, nullptr);
  document.put(0, std::move(first));
  EXPECT_EQ(document.variants(0), 2u);
  EXPECT_EQ(document.joined(0, 0).text, "a1\nb1");
  EXPECT_EQ(document.joined(0, 1).text, "a2\nb1");
  EXPECT_EQ(document.joined(0, 1).score, -6);
}

}  // namespace
}  // namespace heddle::serve
