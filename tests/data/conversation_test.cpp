// ShownTurns of jsonl to conversations: each format, and what hostile lines become.
#include <gtest/gtest.h>

#include <filesystem>
#include <vector>

#include "heddle/data/conversation_reader.h"
#include "tests/data/corpus_case.h"
#include "tests/io/files.h"

namespace heddle::data {
namespace {

using testing::bytes_of_text;
using testing::expect_refused;

struct ReadConversations {
  std::vector<std::string> shown;  // "user:2+2?|assistant:4"
  std::vector<Conversation> whole;
  ConversationCounts counts;
  DatasetFormat format = DatasetFormat::automatic;
};

ReadConversations read_whole(ConversationReader reader) {
  ReadConversations found;
  for (Conversation each; reader.next(each);) {
    std::string shown = each.raw ? "raw " : "";
    for (const Turn& turn : each.turns) {
      if (&turn != each.turns.data()) shown += "|";
      shown += str(name_of(turn.role), ":", turn.text);
    }
    found.shown.push_back(shown);
    found.whole.push_back(each);
  }
  found.counts = reader.counts();
  found.format = reader.format();
  return found;
}

ReadConversations read_lines(const std::string& content, const ConversationOptions& options = {}) {
  return read_whole(ConversationReader(bytes_of_text(content), "a.jsonl", options));
}

ReadConversations golden_conversations(const std::string& name) {
  const std::string path =
      std::filesystem::path(HEDDLE_TEST_DATA) / "conversations" / (name + ".jsonl");
  return read_whole(open_conversations(path, state_of_file(path)));
}

using ShownTurns = std::vector<std::string>;
constexpr ConversationOptions kSkipBad{.on_bad_line = OnBadLine::skip};
const std::string kGoodLine = R"({"messages":[{"role":"assistant","content":"ok"}]})"
                              "\n";

TEST(Conversations, Messages) {
  const auto found = golden_conversations("messages");
  EXPECT_EQ(found.format, DatasetFormat::messages);
  EXPECT_EQ(found.shown, (ShownTurns{"system:Be brief.|user:2+2?|assistant:4",
                                     "user:a|assistant:b|user:c\n\td|assistant:\xC3\xA9",
                                     "system:Beside.|user:a|assistant:b"}));
  EXPECT_EQ(found.whole[1].prompt_turns, 3u);
  EXPECT_EQ(found.whole[2].line, 3u);
}

TEST(Conversations, ShareGpt) {
  const auto found = golden_conversations("sharegpt");
  EXPECT_EQ(found.format, DatasetFormat::sharegpt);
  EXPECT_EQ(found.shown,
            (ShownTurns{"user:Hi|assistant:Ho", "system:Sing.|user:Hi|assistant:Ho|user:again",
                        "system:Own.|user:Hi|assistant:Ho"}));
  EXPECT_EQ(found.whole[1].prompt_turns, 2u);
}

TEST(Conversations, Alpaca) {
  const auto found = golden_conversations("alpaca");
  EXPECT_EQ(found.format, DatasetFormat::alpaca);
  EXPECT_EQ(
      found.shown,
      (ShownTurns{"user:Add.\n1 2|assistant:3", "user:Say so.|assistant:so",
                  "system:Terse.|user:Then?|assistant:no|user:When?|assistant:later|user:Now?|"
                  "assistant:yes"}));
  EXPECT_EQ(found.whole[2].prompt_turns, 6u);
}

TEST(Conversations, PromptAndCompletion) {
  const auto found = golden_conversations("prompt_completion");
  EXPECT_EQ(found.shown, (ShownTurns{"raw user:The sky is|assistant: blue.",
                                     "user:a|assistant:b|user:c|assistant:d"}));
  EXPECT_EQ(found.whole[0].prompt_turns, 1u);
  EXPECT_EQ(found.whole[1].prompt_turns, 3u);
}

TEST(Conversations, PlainText) {
  const auto found = golden_conversations("text");
  EXPECT_EQ(found.shown, (ShownTurns{"raw assistant:One line.", "raw assistant:Two\nlines."}));
  EXPECT_EQ(found.counts.lines, 3u);
  EXPECT_EQ(found.counts.blank_lines, 1u);
  EXPECT_EQ(found.whole[1].line, 3u);
}

TEST(Conversations, NamedFormatWinsOverTheFirstLine) {
  const std::string both = R"({"messages":[{"role":"assistant","content":"m"}],"text":"t"})";
  EXPECT_EQ(read_lines(both).shown, ShownTurns{"assistant:m"});
  EXPECT_EQ(read_lines(both, {.format = DatasetFormat::text}).shown, ShownTurns{"raw assistant:t"});
  EXPECT_EQ(dataset_format("prompt_completion"), DatasetFormat::prompt_completion);
  expect_refused([] { dataset_format("csv"); }, {"dataset_format", "'csv'", "sharegpt"});
  expect_refused([&] { read_lines(R"({"question":"a","answer":"b"})"); },
                 {"a.jsonl: line 1", "'question', 'answer'", "messages", "dataset_format"});
}

/// A bad line between good ones: an error that names it, or left out and counted.
void expect_bad(const std::string& line, uint64_t ConversationCounts::*count,
                std::initializer_list<const char*> parts) {
  const std::string content = kGoodLine + line + "\n" + kGoodLine;
  expect_refused([&] { read_lines(content); }, {"a.jsonl: line 2"});
  expect_refused([&] { read_lines(content); }, parts);
  const auto found = read_lines(content, kSkipBad);
  EXPECT_EQ(found.shown, (ShownTurns{"assistant:ok", "assistant:ok"})) << line;
  EXPECT_EQ(found.counts.*count, 1u) << line;
  EXPECT_EQ(found.counts.lines, 3u);
  EXPECT_EQ(found.counts.kept, 2u);
}

TEST(Conversations, LinesThatAreNoJson) {
  constexpr auto kCount = &ConversationCounts::not_json;
  for (const std::string line :
       {R"({"messages": [)", "hello", R"({"a":1}{"a":1})", R"({'messages': []})",
        R"({"messages":[{"role":"user","content":"\ud83d"}]})", R"({"messages":NaN})"}) {
    expect_bad(line, kCount, {"found", "expected"});
  }
  expect_bad(std::string("{\"a\0\":1}", 8), kCount, {"NUL"});
  expect_bad(R"({"messages":[],"messages":[]})", kCount, {"the key 'messages' twice"});
  expect_bad(std::string(100, '[') + std::string(100, ']'), kCount, {"64"});
}

TEST(Conversations, FieldsOfOtherTypes) {
  constexpr auto kCount = &ConversationCounts::wrong_fields;
  expect_bad("[1]", kCount, {"a list", "expected an object"});
  expect_bad("null", kCount, {"expected an object"});
  expect_bad(R"({"text":"x"})", kCount, {"messages"});
  expect_bad(R"({"messages":"x"})", kCount, {"messages", "the text 'x'", "expected a list"});
  expect_bad(R"({"messages":[3]})", kCount, {"messages[0]", "expected an object"});
  expect_bad(R"({"messages":[{"role":"user"}]})", kCount, {"'content'"});
  expect_bad(R"({"messages":[{"role":"bishop","content":"x"}]})", kCount,
             {"messages[0]: role", "'bishop'", "assistant"});
  expect_bad(R"({"messages":[{"role":"user","content":3}]})", kCount,
             {"messages[0]: content", "expected text"});
  expect_bad(R"({"messages":[{"role":"user","content":null}]})", kCount, {"content"});
}

TEST(Conversations, ToolsAndContentPartsAreRefusedByName) {
  constexpr auto kCount = &ConversationCounts::unsupported;
  expect_bad(R"({"messages":[{"role":"tool","content":"x"}]})", kCount, {"'tool'", "on_bad_line"});
  expect_bad(R"({"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]})", kCount,
             {"messages[0]: content", "content parts"});
  expect_bad(R"({"messages":[{"role":"assistant","content":null,"tool_calls":[{"id":1}]}]})",
             kCount, {"tool_calls"});
  expect_bad(R"({"messages":[],"tools":[{"type":"function"}]})", kCount, {"the member tools"});
  expect_bad(R"({"conversations":[{"from":"observation","value":"x"}]})", kCount,
             {"'observation'"});
}

TEST(Conversations, LinesTooLong) {
  const std::string longer = R"({"text":")" + std::string(2000, 'x') +
                             R"("})"
                             "\n";
  const std::string content = longer +
                              R"({"text":"ok"})"
                              "\n" +
                              longer;
  ConversationOptions options{.longest_line = 1000};
  expect_refused([&] { read_lines(content, options); }, {"a.jsonl: line 1", "1000 bytes"});
  options.on_bad_line = OnBadLine::skip;
  const auto found = read_lines(content, options);
  EXPECT_EQ(found.shown, ShownTurns{"raw assistant:ok"});
  EXPECT_EQ(found.counts.too_long_lines, 2u);
}

TEST(Conversations, RepairedAndCounted) {
  const auto found = read_lines("\xEF\xBB\xBF{\"text\":\"a\xFF\xC3 b\\u0000c\\u0007\"}\r\n");
  EXPECT_EQ(found.shown, ShownTurns{"raw assistant:a\xEF\xBF\xBD\xEF\xBF\xBD b\xEF\xBF\xBD"
                                    "c\x07"});
  EXPECT_EQ(found.counts.not_utf8, 2u);
  EXPECT_EQ(found.counts.nul, 1u);
}

TEST(Conversations, WithoutAnAnswer) {
  const auto found = read_lines(
      R"({"messages":[]})"
      "\n"
      R"({"messages":[{"role":"user","content":"a"}]})"
      "\n"
      R"({"messages":[{"role":"user","content":"a"},{"role":"assistant","content":" \n"}]})"
      "\n");
  EXPECT_TRUE(found.shown.empty());
  EXPECT_EQ(found.counts.empty, 3u);
  EXPECT_EQ(found.counts.summary(), "3 lines, 0 kept, 3 left out without text or answer");
  EXPECT_EQ(found.counts.warnings().size(), 1u);
}

TEST(Conversations, HowBytesArriveDoesNotMatter) {
  const std::string content = kGoodLine + "\n" + kGoodLine + "{bad\n" + kGoodLine;
  const auto whole = read_lines(content, kSkipBad);
  for (const size_t piece : {1, 2, 7}) {
    const auto pieces =
        read_whole(ConversationReader(bytes_of_text(content, piece), "a", kSkipBad));
    EXPECT_EQ(pieces.shown, whole.shown);
    EXPECT_EQ(pieces.counts.not_json, 1u);
  }
}

}  // namespace
}  // namespace heddle::data
