// YAML as configuration files use it; MB-10's bombs.
#include "heddle/io/yaml.h"

#include "tests/io/files.h"

namespace heddle::io {
namespace {

using testing::expect_refused;

Value parse(const std::string& text) { return parse_yaml(text, "case"); }

TEST(Yaml, ReadsConfigs) {
  const Value value = parse(
      "type: transformer\nenc-depth: 6\ndim-vocabs:\n  - 32000\n  - 32000\nempty: \"\"\n"
      "flag: true\nrate: 1.5\nlist: []\nnothing:\nquoted: \"12\"\nversion: v1.9 (x)\n");
  const Field root(value, "case");
  EXPECT_EQ(root["type"].text(), "transformer");
  EXPECT_EQ(root["enc-depth"].integer(0, 9), 6);
  EXPECT_EQ(root["dim-vocabs"].items()[1].integer(0, 99999), 32000);
  EXPECT_EQ(root["empty"].text(), "");
  EXPECT_TRUE(root["flag"].boolean());
  EXPECT_EQ(root["rate"].number(), 1.5);
  EXPECT_TRUE(root["list"].items().empty());
  EXPECT_FALSE(root.find("nothing").has_value());
  EXPECT_EQ(root["quoted"].text(), "12");
  EXPECT_TRUE(parse("").is_null());
  EXPECT_EQ(*parse("{a: [1, +2, -3, 0.5, .5, nan, 1x]}").find("a")->list()->at(1).integer(), 2);
}

TEST(Yaml, MB10Refusals) {
  for (const char* text :
       {"a: [1", "a: {b", "a: \"b", "\ta: 1", "a: b: c", "- a\nb: c", "%YAML 9\n---\nx",
        "a: !!binary [", "? [a]\n: b", "[a]: b", "a: 1\na: 2", "--- 1\n--- 2\n", "a: &x 1\nb: *x",
        "a: *unknown", "{a: 1, a: 2}", "@", "a: `"}) {
    expect_refused([&] { parse(text); }, {"yaml: case: "});
  }
  std::string bomb = "a0: &a0 [x, x]\n";
  for (int i = 1; i < 30; ++i) {
    const std::string n = std::to_string(i), before = "*a" + std::to_string(i - 1);
    bomb += "a" + n + ": &a" + n + " [" + before + ", " + before + "]\n";
  }
  expect_refused([&] { parse(bomb); }, {"an alias"});
  expect_refused([] { parse(std::string(100'000, '[')); }, {"case"});
  expect_refused([] { parse(std::string(65, '[') + std::string(65, ']')); }, {"more than 64"});
  std::string deep;
  for (int i = 0; i < 70; ++i) deep += std::string(static_cast<size_t>(i), ' ') + "a:\n";
  expect_refused([&] { parse(deep + std::string(70, ' ') + "b: 1"); }, {"case"});
  expect_refused([] { parse(std::string(300'000, 'a')); }, {"at most 262144"});
  expect_refused([] { parse(std::string(1, '\0')); }, {"case"});
}

}  // namespace
}  // namespace heddle::io
