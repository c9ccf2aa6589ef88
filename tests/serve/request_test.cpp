// Bodies of requests: what is understood, and what is refused without repeating it.
#include "heddle/serve/request.h"

#include <gtest/gtest.h>

#include "heddle/base/error.h"
#include "heddle/serve/replies.h"

namespace heddle::serve {
namespace {

constexpr size_t kLongestError = 4096;

/// The status, 200 for what is accepted; a refusal must be short and not hold the canary.
int status_of(std::string_view body, const Limits& limits = {}) {
  try {
    parse_translate(body, limits);
  } catch (const Refused& refused) {
    const std::string reply = error_reply(refused.refusal(), false).body;
    EXPECT_LE(reply.size(), kLongestError);
    EXPECT_EQ(reply.find("canary"), std::string::npos) << reply;
    return refused.refusal().status;
  }
  return 200;
}

std::string message_of(std::string_view body) {
  try {
    parse_translate(body, {});
  } catch (const Refused& refused) {
    return refused.refusal().message;
  }
  return "";
}

TEST(Request, UnderstandsEveryField) {
  const TranslateRequest request = parse_translate(
      R"({"model": "en-pt", "text": ["a\nb", "c"], "options": {"beam": 4, "n_best": 2,
          "length_penalty": 0.6, "max_length": 20, "scores": true, "prefix": "d"},
          "deadline_ms": 500, "stream": true})",
      {});
  EXPECT_EQ(request.model, "en-pt");
  EXPECT_EQ(request.texts, (std::vector<std::string>{"a\nb", "c"}));
  EXPECT_TRUE(request.is_list);
  EXPECT_EQ(request.options.beam, 4);
  EXPECT_EQ(request.options.n_best, 2);
  EXPECT_EQ(request.options.length_penalty, 0.6);
  EXPECT_EQ(request.options.max_length, 20);
  EXPECT_TRUE(request.options.scores);
  EXPECT_EQ(request.prefix, "d");
  EXPECT_EQ(request.deadline_ms, 500);
  EXPECT_TRUE(request.stream);
  EXPECT_NO_THROW(request.options.check());
}

// The kinds of the must-refuse files of JSONTestSuite (n_*.json), by name.
TEST(Request, Ht14BodiesThatAreNotJson) {
  const std::vector<std::string> bodies{"",
                                        " ",
                                        "{",
                                        "[",
                                        "]",
                                        "}",
                                        "{\"text\"",
                                        "{\"text\":",
                                        "{\"text\":\"a",
                                        "{\"text\":\"a\"",
                                        "{\"text\":\"a\",}",
                                        "{,\"text\":\"a\"}",
                                        "{\"text\":\"a\"}}",
                                        "{\"text\":\"a\"} x",
                                        "{'text':'a'}",
                                        "{text:\"a\"}",
                                        "{\"text\" \"a\"}",
                                        "{\"text\":\"a\" \"b\"}",
                                        "[1,]",
                                        "[,1]",
                                        "[1 2]",
                                        "[01]",
                                        "[+1]",
                                        "[1.]",
                                        "[.5]",
                                        "[1e]",
                                        "[1e+]",
                                        "[-]",
                                        "[0x1]",
                                        "[NaN]",
                                        "[Infinity]",
                                        "[-Infinity]",
                                        "[1_000]",
                                        "[tru]",
                                        "[nul]",
                                        "[True]",
                                        "[\"\\x00\"]",
                                        "[\"\\u00\"]",
                                        "[\"\\\"]",
                                        "[\"a\nb\"]",
                                        "[\"a\tb\"]",
                                        "[\"\\a\"]",
                                        "// a\n[1]",
                                        "/* */[1]",
                                        "\xEF\xBB\xBF",
                                        "[1]\x0c",
                                        "{\"text\":\"a\",\"text\":\"b\"}",
                                        "canary",
                                        "[\"canary]"};
  for (const std::string& body : bodies) EXPECT_EQ(status_of(body), 400) << body;
  EXPECT_EQ(status_of(std::string("{\"text\":\"a\"}\0", 13)), 400);
}

TEST(Request, Ht15Depth) {
  const auto nested = [](size_t depth) {
    return "{\"text\":" + std::string(depth, '[') + std::string(depth, ']') + "}";
  };
  EXPECT_EQ(status_of(nested(63)), 422);  // JSON, but no text
  EXPECT_EQ(status_of(nested(64)), 400);
  EXPECT_EQ(status_of(nested(100'000)), 400);
  EXPECT_EQ(status_of(std::string(100'000, '[')), 400);
  std::string objects;
  for (int i = 0; i < 100'000; ++i) objects += "{\"\":";
  EXPECT_EQ(status_of(objects), 400);
}

TEST(Request, Ht16Characters) {
  for (const std::string& text :
       {std::string("\xff"), std::string("\xc0\xaf"), std::string("caf\xc3"),
        std::string("\xed\xa0\x80"), std::string("\\ud800"), std::string("\\udc00\\ud800"),
        std::string("\\u0000"), std::string("a\0b", 3)}) {
    EXPECT_EQ(status_of("{\"text\":\"" + text + "\"}"), 400) << text;
  }
  EXPECT_EQ(status_of("{\"text\":\"\\ud83d\\ude00 \xf0\x9f\x98\x80\"}"), 200);
}

TEST(Request, Ht17Fields) {
  EXPECT_EQ(status_of(R"({"text":"a"})"), 200);
  for (const char* const body :
       {"1", "null", "[]", "\"canary\"", "{}", R"({"text":null})", R"({"text":1})",
        R"({"text":{"canary":1}})", R"({"text":["a",1]})", R"({"text":["a",null]})",
        R"({"text":"a","canary field":1})", R"({"text":"a","model":1})",
        R"({"text":"a","stream":"canary"})", R"({"text":"a","stream":null})",
        R"({"text":"a","options":[]})", R"({"text":"a","options":{"canary!":1}})",
        R"({"text":"a","options":{"scores":1}})", R"({"text":"a","deadline_ms":"1"})",
        R"({"text":"a","options":{"prefix":"b\nc"}})"}) {
    EXPECT_EQ(status_of(body), 422) << body;
  }
  EXPECT_NE(message_of(R"({"text":"a","beam":1})").find("unknown field beam"), std::string::npos);
  EXPECT_NE(message_of(R"({"text":"a","options":{"beam":"x"}})").find("options.beam: found a text"),
            std::string::npos);
  std::string many = R"({"text":[)";
  for (int i = 0; i < 12'000; ++i) many += "1,";
  EXPECT_EQ(status_of(many + "1]}"), 422);
}

TEST(Request, Ht18Numbers) {
  for (const char* const number : {"-1", "0", "2147483648", "1e308", "1.5", "-0.0",
                                   "99999999999999999999", "9", "true", "\"1\""}) {
    EXPECT_EQ(status_of(str(R"({"text":"a","options":{"beam":)", number, "}}")), 422) << number;
  }
  for (const char* const number : {"-1", "11", "1e308", "null"}) {
    EXPECT_EQ(status_of(str(R"({"text":"a","options":{"length_penalty":)", number, "}}")), 422);
  }
  EXPECT_EQ(status_of(R"({"text":"a","options":{"n_best":2}})"), 422);  // above the beam
  EXPECT_EQ(status_of(R"({"text":"a","options":{"max_length":0}})"), 422);
  EXPECT_EQ(status_of(R"({"text":"a","deadline_ms":0})"), 422);
  EXPECT_EQ(status_of(R"({"text":"a","deadline_ms":60001})"), 422);
  EXPECT_EQ(status_of(R"({"text":"a","options":{"beam":NaN}})"), 400);
}

TEST(Request, Ht19MuchText) {
  const auto body = [](const std::string& text) { return "{\"text\":\"" + text + "\"}"; };
  EXPECT_EQ(status_of(body(std::string(100'000, 'a'))), 200);
  EXPECT_EQ(status_of(body(std::string(100'001, 'a'))), 422);
  std::string wide;
  for (int i = 0; i < 100'000; ++i) wide += "\xc3\xa9";
  EXPECT_EQ(status_of(body(wide)), 200);  // characters, not bytes
  EXPECT_EQ(status_of(body(wide + "a")), 422);
}

TEST(Request, Ht20LineFeeds) {
  std::string feeds;
  for (int i = 0; i < 99'999; ++i) feeds += "\\n";
  EXPECT_EQ(status_of("{\"text\":\"" + feeds + "\"}"), 200);
  EXPECT_EQ(status_of("{\"text\":\"" + feeds + "\\n\"}"), 422);
}

int libre_status_of(std::string_view body, bool form) {
  try {
    parse_libre(body, form, {});
  } catch (const Refused& refused) {
    return refused.refusal().status;
  }
  return 200;
}

TEST(Request, LibreTranslate) {
  const TranslateRequest form =
      parse_libre("q=caf%C3%A9+au+lait%0Aa&source=auto&target=pt&format=text&api_key=k", true, {});
  EXPECT_EQ(form.texts, (std::vector<std::string>{"caf\xc3\xa9 au lait\na"}));
  EXPECT_FALSE(form.is_list);
  EXPECT_EQ(form.source, "auto");
  EXPECT_EQ(form.target, "pt");
  EXPECT_EQ(form.api_key, "k");
  const TranslateRequest json =
      parse_libre(R"({"q":["a"],"source":"en","target":"pt","alternatives":3})", false, {});
  EXPECT_TRUE(json.is_list);
  for (const char* const wrong :
       {"", "q=a", "source=en&target=pt", "q=a&source=en&target=pt&format=html", "q=%f&source=a",
        "q=%zz&source=en&target=pt", "q=%FF&source=en&target=pt", "q=%00&source=en&target=pt",
        "q=a&source=en&target=pt&other=1"}) {
    EXPECT_EQ(libre_status_of(wrong, true), 400) << wrong;
  }
  EXPECT_EQ(libre_status_of(R"({"q":"a","source":"en","target":"pt","format":"html"})", false),
            400);
  EXPECT_EQ(libre_status_of(R"({"q":1,"source":"en","target":"pt"})", false), 400);
  EXPECT_EQ(libre_status_of(R"({"source":"en","target":"pt"})", false), 400);
}

}  // namespace
}  // namespace heddle::serve
