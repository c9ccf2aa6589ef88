// JSON by RFC 8259. The inputs follow the kinds that JSONTestSuite tells apart: y_ must be
// accepted, n_ refused, i_ are ours to decide; written anew.
#include "heddle/io/json.h"

#include "tests/io/files.h"

namespace heddle::io {
namespace {

using testing::expect_refused;

Value parse(const std::string& text) { return parse_json(text, "case"); }

template <size_t N>
std::string raw(const char (&bytes)[N]) {
  return std::string(bytes, N - 1);
}

TEST(Json, AcceptsWhatIsJson) {
  const std::string cases[] = {"[]",
                               "{}",
                               "[[]]",
                               "[ ]",
                               "{ }",
                               " [] ",
                               "[\n1\n]",
                               "\t[1]\r\n",
                               "null",
                               "true",
                               "false",
                               "0",
                               "-0",
                               "1",
                               "-1",
                               "-123",
                               "1.5",
                               "-0.5",
                               "0.1",
                               "1e1",
                               "1E1",
                               "1e+2",
                               "1e-2",
                               "1.5e10",
                               "123e65",
                               "0e+1",
                               "0e1",
                               "20e1",
                               "-0.000000000000000000000000000000000001",
                               "1E22",
                               "9223372036854775807",
                               "-9223372036854775808",
                               "18446744073709551616",
                               "\"\"",
                               "\"a\"",
                               "\" \"",
                               "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
                               "\"\\u0060\\u012a\\u12AB\"",
                               "\"\\u0000\"",
                               "\"\\uD801\\udc37\"",
                               "\"\\ud83d\\ude39\\ud83d\\udc8d\"",
                               "\"\\uFFFF\"",
                               "\"\\u200B\"",
                               "\"\x7f\"",
                               "\"asd \"",
                               "\"\xe2\x82\xac\xf0\x9d\x84\x9e\"",
                               "\"\xc2\x80\"",
                               "\"\xf4\x8f\xbf\xbf\"",
                               "\"\xe2\x80\xa8\"",
                               "\"new\\u000Aline\"",
                               "\"a/*b*/c/*d//e\"",
                               "[1,null,true,false,\"x\",{}]",
                               "{\"a\":\"b\"}",
                               "{\"\":0}",
                               "{\"foo\\u0000bar\":42}",
                               "{\"a\":[]}",
                               "{\"a\":\"b\",\"c\":\"d\"}",
                               "{\n\"a\":\"b\"\n}",
                               "{\"x\":[{\"id\":\"z\"}],\"id\":\"y\"}",
                               "[-0.0]",
                               "[\"\\u005C\"]",
                               "[\"\\u0821\"]",
                               "[2]  ",
                               "{\"min\":-1.0e+28,\"max\":1.0e+28}"};
  EXPECT_GE(std::size(cases), 40u);
  for (const std::string& text : cases) EXPECT_NO_THROW(parse(text)) << text;
}

TEST(Json, RefusesWhatIsNot) {
  const std::string cases[] = {"",
                               " ",
                               "[",
                               "]",
                               "{",
                               "}",
                               "[1",
                               "[1,",
                               "[,1]",
                               "[1,]",
                               "[1,,2]",
                               "[,]",
                               "[1 2]",
                               "[\"a\" 1]",
                               "[1:2]",
                               "[\"\": 1]",
                               "[1]]",
                               "[1]x",
                               "[]{}",
                               "[1],",
                               "{\"a\"}",
                               "{\"a\":}",
                               "{\"a\" 1}",
                               "{\"a\",1}",
                               "{:1}",
                               "{1:1}",
                               "{a:1}",
                               "{'a':1}",
                               "{\"a\":1,}",
                               "{\"a\":1,,\"b\":2}",
                               "{\"a\":1 \"b\":2}",
                               "{\"a\":1",
                               "{\"a\":\"b",
                               "{\"a\":/**/1}",
                               "// c\n[]",
                               "/* c */[]",
                               "[]/**/",
                               "#[]",
                               "[nul]",
                               "[nulll]",
                               "[True]",
                               "[TRUE]",
                               "[fals]",
                               "[truth]",
                               "[NaN]",
                               "[Infinity]",
                               "[-Infinity]",
                               "[-NaN]",
                               "[Inf]",
                               "[+1]",
                               "[++1]",
                               "[-]",
                               "[--1]",
                               "[- 1]",
                               "[01]",
                               "[-01]",
                               "[012]",
                               "[0x1]",
                               "[1.]",
                               "[.1]",
                               "[-.1]",
                               "[1.e1]",
                               "[1e]",
                               "[1e+]",
                               "[1e-]",
                               "[1eE2]",
                               "[1.5e]",
                               "[0e]",
                               "[1+2]",
                               "[1 000]",
                               "[1a]",
                               "[1_000]",
                               "[\xef\xbc\x91]",
                               "[1\xe5]",
                               "\"",
                               "\"a",
                               "[\"a]",
                               "[\"\\\"]",
                               "[\"\\x00\"]",
                               "[\"\\a\"]",
                               "[\"\\u\"]",
                               "[\"\\u1\"]",
                               "[\"\\u12\"]",
                               "[\"\\u123\"]",
                               "[\"\\u123g\"]",
                               "[\"\\U0041\"]",
                               "[\"\\ \"]",
                               "[\"\\\t\"]",
                               "[\"\\ud800\"]",
                               "[\"\\ud800\\u0041\"]",
                               "[\"\\udc00\"]",
                               "[\"\\ud800\\ud800\"]",
                               "[\"\\ud800x\"]",
                               raw("[\"a\0b\"]"),
                               "[\"a\nb\"]",
                               "[\"a\tb\"]",
                               "[\"\x1f\"]",
                               "[\"\xff\"]",
                               "[\"\xc0\xaf\"]",
                               "[\"\xe0\x80\xaf\"]",
                               "[\"\xed\xa0\x80\"]",
                               "[\"\xf4\x90\x80\x80\"]",
                               "[\"\xf8\x88\x80\x80\x80\"]",
                               "[\"\xc3\"]",
                               "[\"\x80\"]",
                               "['a']",
                               "[a]",
                               "[\xc3\xa9]",
                               raw("[\0]"),
                               raw("\0"),
                               "[\x0c]",
                               "[\xe2\x81\xa0]",
                               "\xef\xbb",
                               raw("[1]\0"),
                               "<.>",
                               "[<null>]",
                               "*",
                               "[*]",
                               "{\"a\":true",
                               "[true",
                               "\"x\"]",
                               "1]",
                               "1 2",
                               "{\"a\":\"b\"}}",
                               "{[: \"x\"}\n"};
  EXPECT_GE(std::size(cases), 100u);
  for (const std::string& text : cases) {
    expect_refused([&] { parse(text); }, {"json: case: "}, text.size());
  }
}

// What JSONTestSuite leaves open.
TEST(Json, Decides) {
  EXPECT_NO_THROW(parse("\xef\xbb\xbf{}"));                     // a byte order mark is skipped
  EXPECT_NE(parse("123123123123123123123").number(), nullptr);  // too large an integer: a double
  EXPECT_NO_THROW(parse("1e-400"));                             // too small: 0
  expect_refused([] { parse("1e400"); }, {"case"});             // too large a number
  expect_refused([] { parse("{\"a\":1,\"a\":1}"); }, {"'a' twice"});
  expect_refused([] { parse("{\"b\":{\"\":1,\"c\":2,\"\":3}}"); }, {"'' twice"});
  expect_refused([] { parse(std::string("[\0\"\0x\0\"\0]\0", 10)); }, {"case"});  // UTF-16
}

TEST(Json, DepthIsLimited) {
  const auto nested = [](size_t depth) {
    return std::string(depth, '[') + std::string(depth, ']');
  };
  EXPECT_NO_THROW(parse(nested(64)));
  for (const size_t depth : {size_t{65}, size_t{500}, size_t{100'000}}) {
    expect_refused([&] { parse(nested(depth)); }, {"more than 64"});
  }
  expect_refused([] { parse(std::string(100'000, '[')); }, {"more than 64"});
  std::string objects;
  for (int i = 0; i < 50'000; ++i) objects += "[{\"\":";
  expect_refused([&] { parse(objects); }, {"more than 64"});
}

TEST(Json, MemoryIsLimited) {
  std::string numbers = "[1";
  for (int i = 0; i < 2'000'000; ++i) numbers += ",1";
  expect_refused([&] { parse(numbers + "]"); }, {"values of more than"}, numbers.size());
  expect_refused([] { parse("\"" + std::string(5 << 20, 'x') + "\""); }, {"token"}, 5 << 20);
  expect_refused([] { parse("\"" + std::string(5 << 20, 'x')); }, {"token"}, 5 << 20);
  expect_refused([] { parse(std::string(5 << 20, '1')); }, {"token"}, 5 << 20);
  EXPECT_NO_THROW(parse("\"" + std::string(1 << 20, 'x') + "\""));
}

TEST(Json, ErrorsNameThePlace) {
  expect_refused([] { parse("{\n  \"a\": tru\n}"); }, {"line 2", "offset"});
}

TEST(Json, FieldsNameThePlace) {
  const Value value = parse("{\"d\": {\"n\": \"x\", \"l\": [1, 2.5], \"z\": null}}");
  const Field root(value, "config.json");
  EXPECT_EQ(root["d"]["l"].items()[1].number(), 2.5);
  EXPECT_EQ(root["d"].integer_or("z", 7, 0, 9), 7);
  EXPECT_EQ(root["d"].text_or("absent", "y"), "y");
  expect_refused([&] { root["d"]["n"].integer(0, 9); }, {"config.json: d: n", "'x'", "0 … 9"});
  expect_refused([&] { root["d"]["l"].items()[1].integer(0, 9); }, {"l[1]", "2.5"});
  expect_refused([&] { root["e"]; }, {"config.json", "'e'"});
  expect_refused([&] { root["d"]["n"]["x"]; }, {"an object"});
  expect_refused([&] { root["d"]["l"].items()[0].integer(2, 9); }, {"found the number 1"});
}

TEST(Json, WritesWhatItReads) {
  const std::string text =
      "{\"a\":[1,-2.5,1e+300,true,null,\"\\\"\\\\\\n\\u0001é\"],\"b\":{},\"c\":[],\"d\":2.0,"
      "\"e\":-9223372036854775808}";
  const Value value = parse(text);
  EXPECT_EQ(to_json(value), text);
  EXPECT_EQ(parse(to_json(value, 2)), value);
  Value infinite(std::numeric_limits<double>::infinity());
  EXPECT_THROW(to_json(infinite), Error);
}

TEST(Json, MembersOneByOne) {
  std::vector<std::string> keys;
  parse_json_members("{\"a\": 1, \"b\": [{\"x\": 2}], \"a\": {}}", "case",
                     [&](std::string key, Value) { keys.push_back(std::move(key)); });
  EXPECT_EQ(keys, (std::vector<std::string>{"a", "b", "a"}));
  expect_refused([] { parse_json_members("[1]", "case", [](std::string, Value) {}); },
                 {"an object"});
}

}  // namespace
}  // namespace heddle::io
