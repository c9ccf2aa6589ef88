// Preferences: lines of jsonl, tokens of their groups, the cache, and rows of whole groups.
#include <gtest/gtest.h>

#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "heddle/data/group_packer.h"
#include "heddle/data/preference_cache.h"
#include "heddle/data/row_packer.h"
#include "tests/data/corpus_case.h"
#include "tests/io/files.h"

namespace heddle::data {
namespace {

using testing::bytes_of_text;
using testing::expect_refused;

struct ReadPreferences {
  std::vector<std::string> shown;  // "user:2+2?|4 1|5 0"
  PreferenceCounts counts;
};

std::string shown(const std::vector<Turn>& turns) {
  std::string text;
  for (const Turn& turn : turns) text += str(text.empty() ? "" : "+", turn.text);
  return text;
}

ReadPreferences read_preferences(const std::string& content, OnBadLine bad = OnBadLine::raise) {
  PreferenceReader reader(bytes_of_text(content), "a.jsonl", {.on_bad_line = bad});
  ReadPreferences found;
  for (Preference each; reader.next(each);) {
    std::string text = str(each.raw ? "raw " : "", shown(each.prompt));
    for (size_t i = 0; i < each.answers.size(); ++i) {
      text += str("|", shown(each.answers[i]), " ", each.scores[i]);
    }
    found.shown.push_back(text);
  }
  found.counts = reader.counts();
  return found;
}

std::string only(const std::string& line) {
  const auto found = read_preferences(line);
  return found.shown.size() == 1 ? found.shown.front() : found.counts.summary();
}

TEST(Preferences, Forms) {
  EXPECT_EQ(only(R"({"prompt":"q","chosen":"a","rejected":"b"})"), "raw q|a 1|b 0");
  EXPECT_EQ(only(R"({"prompt":"q","chosen":["a","c"],"rejected":["b"]})"), "raw q|a 1|c 1|b 0");
  EXPECT_EQ(only(R"({"prompt":"q","answers":["a","b","c"],"scores":[2,0.5,-1]})"),
            "raw q|a 2|b 0.5|c -1");
  EXPECT_EQ(only(R"({"prompt":"q","responses":["a","b"],"ranks":[2,1]})"), "raw q|a -2|b -1");
  const std::string user = R"({"role":"user","content":"q"})";
  const auto said = [](const char* text) {
    return str(R"({"role":"assistant","content":")", text, "\"}");
  };
  EXPECT_EQ(only(str(R"({"prompt":[)", user, R"(],"chosen":[)", said("a"), R"(],"rejected":[)",
                     said("b"), "]}")),
            "q|a 1|b 0");
  EXPECT_EQ(only(str(R"({"prompt":[)", user, R"(],"chosen":"a","rejected":"b"})")), "q|a 1|b 0");
  EXPECT_EQ(only(str(R"({"chosen":[)", user, ",", said("a"), R"(],"rejected":[)", user, ",",
                     said("b"), "]}")),
            "q|a 1|b 0");
  EXPECT_EQ(only(R"({"conversations":[{"from":"human","value":"q"}],)"
                 R"("chosen":{"from":"gpt","value":"a"},"rejected":{"from":"gpt","value":"b"}})"),
            "q|a 1|b 0");
}

TEST(Preferences, TX19MissingAnswersAndFieldsAreRefusedWithTheirLine) {
  const std::pair<const char*, const char*> bad[] = {
      {R"({"prompt":"q","chosen":"a"})", "rejected"},
      {R"({"prompt":"q","rejected":"a","chosen":null})", "chosen"},
      {R"({"prompt":"q","chosen":[],"rejected":"b"})", "at least one answer"},
      {R"({"prompt":"q","chosen":3,"rejected":"b"})", "chosen"},
      {R"({"chosen":"a","rejected":"b"})", "a prompt"},
      {R"({"prompt":"q","answers":["a","b"],"scores":[1]})", "as many as answers"},
      {R"({"prompt":"q","answers":["a","b"]})", "either scores or ranks"},
      {R"({"prompt":"q","answers":["a","b"],"scores":[1,1e99]})", "finite"},
      {R"({"prompt":"q","chosen":[{"role":"assistant","content":"a"}],"rejected":"b"})",
       "list of messages"},
      {R"({"prompt":"q","chosen":"a","rejected":"b","tools":[{}]})", "tools"},
  };
  for (const auto& each : bad) {
    const char* const line = each.first;
    SCOPED_TRACE(line);
    expect_refused([&] { read_preferences(str("\n", line)); }, {"a.jsonl: line 2"});
    expect_refused([&] { read_preferences(line); }, {each.second});
    const auto found = read_preferences(str(line, "\n"), OnBadLine::skip);
    EXPECT_EQ(found.counts.lines.wrong_fields + found.counts.lines.unsupported, 1u);
  }
}

TEST(Preferences, TX10EmptyPromptsAndAnswersAreLeftOutAndCounted) {
  EXPECT_EQ(read_preferences(R"({"prompt":" ","chosen":"a","rejected":"b"})").counts.lines.empty,
            1u);
  const auto one = read_preferences(R"({"prompt":"q","chosen":"a","rejected":["","b","\t"]})");
  EXPECT_EQ(one.shown, (std::vector<std::string>{"raw q|a 1|b 0"}));
  EXPECT_EQ(one.counts.empty_answers, 2u);
  EXPECT_EQ(read_preferences(R"({"prompt":"q","chosen":"","rejected":"b"})").counts.no_pair, 1u);
}

TEST(Preferences, EqualAnswersAndTies) {
  const auto equal = read_preferences(R"({"prompt":"q","chosen":"a","rejected":"a"})");
  EXPECT_TRUE(equal.shown.empty());
  EXPECT_EQ(equal.counts.contradictions, 1u);
  const auto twice = read_preferences(R"({"prompt":"q","chosen":["a","a"],"rejected":"b"})");
  EXPECT_EQ(twice.shown.size(), 1u);
  EXPECT_EQ(twice.counts.equal_answers, 1u);
  const auto tie = read_preferences(R"({"prompt":"q","answers":["a","b"],"scores":[1,1]})");
  EXPECT_EQ(tie.counts.no_pair, 1u);
  EXPECT_EQ(heddle::data::pairs_of(std::vector<float>{1, 1, 0}), 2u);
}

TEST(Preferences, TX06UnicodeAndNul) {
  const auto found = read_preferences(
      "{\"prompt\":\"\xC3\xA9\xF0\x9F\x91\xA9\xE2\x80\xA8\",\"chosen\":"
      "\"a\\u0000\",\"rejected\":\"\xFF\"}");
  EXPECT_EQ(found.shown, (std::vector<std::string>{"raw \xC3\xA9\xF0\x9F\x91\xA9\xE2\x80\xA8|a"
                                                   "\xEF\xBF\xBD 1|\xEF\xBF\xBD 0"}));
  EXPECT_EQ(found.counts.lines.nul, 1u);
  EXPECT_EQ(found.counts.lines.not_utf8, 1u);
}

class PreferenceTokensTest : public heddle::testing::FolderTest {
 protected:
  PreferenceTokensTest()
      : vocabulary_(std::filesystem::path(HEDDLE_TEST_DATA).parent_path() / "golden" / "bpe" /
                    "qwen2.json"),
        tokenizer_(text::load_bpe_tokenizer(vocabulary_)) {}

  RenderTurns chatml() const {
    return render_turns(text::ChatTemplate::named("chatml"), tokenizer_);
  }

  static Preference preference() {
    Preference made;
    made.prompt = {{Role::user, "the cat sat where?"}};
    for (const char* text : {"on the mat", "ontop", "", "o"}) {
      made.answers.push_back({{Role::assistant, text}});
      made.scores.push_back(static_cast<float>(made.scores.size()));
    }
    return made;
  }

  std::string vocabulary_;
  text::BpeTokenizer tokenizer_;
};

TEST_F(PreferenceTokensTest, SharedQuestionsHaveTheTokensOfEachConversation) {
  const PreferenceTokens tokens(tokenizer_, chatml(), {});
  const PreferenceTokens apart(tokenizer_, chatml(), {.tokens = {}, .share = false});
  const ChatTokens alone(tokenizer_, chatml(), {});
  TokenGroup group, repeated;
  ASSERT_EQ(tokens.encode(preference(), "a", group), TokenOutcome::kept);
  ASSERT_EQ(apart.encode(preference(), "a", repeated), TokenOutcome::kept);
  EXPECT_TRUE(group.shape.shared);
  EXPECT_FALSE(repeated.shape.shared);
  const auto question = group.shape.question;
  auto answer = group.stored.begin() + question;
  auto text = repeated.stored.begin();
  for (size_t i = 0; i < group.shape.answers.size(); ++i) {
    Conversation whole;
    whole.turns = preference().prompt;
    whole.turns.push_back(preference().answers[i].front());
    TokenExample expected;
    ASSERT_EQ(alone.encode(whole, "a", expected), TokenOutcome::kept);
    std::vector<int32_t> joined(group.stored.begin(), group.stored.begin() + question);
    EXPECT_TRUE(is_learned(*answer));
    joined.insert(joined.end(), answer, answer + group.shape.answers[i]);
    answer += group.shape.answers[i];
    ASSERT_EQ(joined.size(), expected.tokens.size());
    for (size_t t = 0; t < joined.size(); ++t) {
      EXPECT_EQ(joined[t], stored_token(expected.tokens[t], expected.learned[t] != 0));
      EXPECT_EQ(joined[t], *text++);
    }
  }
  EXPECT_EQ(answer, group.stored.end());
}

TEST_F(PreferenceTokensTest, LongGroupsByPolicy) {
  TokenGroup group;
  PreferenceTokenOptions options{.tokens = {}, .row_length = 20};
  EXPECT_EQ(PreferenceTokens(tokenizer_, chatml(), options).encode(preference(), "a", group),
            TokenOutcome::too_long);
  options.tokens.excess_length_strategy = ExcessLength::truncate;  // groups are not cut
  EXPECT_EQ(PreferenceTokens(tokenizer_, chatml(), options).encode(preference(), "a", group),
            TokenOutcome::too_long);
  options.tokens.excess_length_strategy = ExcessLength::raise;
  const PreferenceTokens raises(tokenizer_, chatml(), options);
  expect_refused([&] { raises.encode(preference(), "a", group); },
                 {"answers; expected at most 20"});
  options = {};
  options.tokens.max_length = 18;
  EXPECT_EQ(PreferenceTokens(tokenizer_, chatml(), options).encode(preference(), "a", group),
            TokenOutcome::too_long);
  options = {.tokens = {}, .window = 8};  // longer than what sliding layers see
  ASSERT_EQ(PreferenceTokens(tokenizer_, chatml(), options).encode(preference(), "a", group),
            TokenOutcome::kept);
  EXPECT_FALSE(group.shape.shared);
}

TEST_F(PreferenceTokensTest, CacheAndRowsHoldWholeGroups) {
  std::string lines;
  for (int i = 0; i < 40; ++i) {
    lines +=
        str(R"({"prompt":"question )", i, R"(","chosen":["yes )", i, R"(","a"],"rejected":"no)",
            std::string(static_cast<size_t>(i % 7), 'x'), "\",\"margin\":", i, "}\n");
  }
  const PreferenceOptions options{.files = {write("a.jsonl", lines)},
                                  .reading{},
                                  .tokens{},
                                  .vocabularies = {vocabulary_},
                                  .chat_template{}};
  ThreadPool threads(3);
  for (const char* folder : {"first", "first", "second"}) {
    const bool threaded = folder[0] == 's';
    const PreferenceCache cache =
        open_preference_cache(options, tokenizer_, {}, path(folder), threaded ? &threads : nullptr);
    EXPECT_EQ(cache.counts().lines.kept, 40u);
    EXPECT_EQ(cache.counts().answers, 120u);
    EXPECT_EQ(cache.counts().pairs, 80u);
    const PreferenceGroups groups = cache.groups();
    ASSERT_EQ(groups.size(), 40u);
    EXPECT_EQ(groups.group(7).margin, 7);
    EXPECT_EQ(groups.group(7).scores, (std::vector<float>{1, 1, 0}));
    GroupPacker packer(groups, {.packing_length = 60, .window = 16});
    std::multiset<uint64_t> seen;
    size_t rows = 0;
    for (PackedGroups row; packer.next(row); ++rows) {
      EXPECT_LE(row.tokens.size(), 60u);
      ASSERT_EQ(row.offsets.size(), row.groups.size() + 1);
      for (size_t g = 0; g < row.groups.size(); ++g) {
        seen.insert(row.numbers[g]);
        const PreferenceGroup& group = row.groups[g];
        EXPECT_EQ(group, groups.group(row.numbers[g]));
        int32_t at = row.offsets[g] + group.question;
        EXPECT_EQ(row.labels[static_cast<size_t>(at) - 1], kNoLabel);
        for (const int32_t answer : group.answers) {
          for (int32_t t = at; t + 1 < at + answer; ++t) {
            EXPECT_EQ(row.labels[static_cast<size_t>(t)], row.tokens[static_cast<size_t>(t) + 1]);
          }
          EXPECT_EQ(row.labels[static_cast<size_t>((at += answer) - 1)], kNoLabel);
        }
        EXPECT_EQ(at, row.offsets[g + 1]);
      }
    }
    EXPECT_EQ(rows, GroupPacker(groups, {.packing_length = 60, .window = 16}).rows_in_epoch(0));
    EXPECT_EQ(std::set<uint64_t>(seen.begin(), seen.end()).size(), 40u);
    EXPECT_EQ(seen.size(), 40u);
  }
  EXPECT_EQ(read("first/" +
                 std::filesystem::directory_iterator(path("first"))->path().filename().string()),
            read("second/" +
                 std::filesystem::directory_iterator(path("second"))->path().filename().string()));
}

TEST_F(PreferenceTokensTest, TX21NothingLeftIsRefused) {
  const PreferenceOptions options{
      .files = {write("a.jsonl", R"({"prompt":"q","chosen":"a","rejected":"a"})")},
      .reading{},
      .tokens{},
      .vocabularies = {vocabulary_},
      .chat_template{}};
  expect_refused([&] { open_preference_cache(options, tokenizer_, {}, path("cache")); },
                 {"one answer with two scores"});
}

std::string numbered_line(int i) {
  return str(R"({"prompt":"question )", i, R"(","chosen":"yes )", i % 7, R"(","rejected":"no"})",
             "\n");
}

/// KiB that this process has taken at most.
int64_t peak_memory() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss;
}

TEST(PreferencesSlow, TX24_AMillionLinesInLittleMemory) {
  constexpr int kLines = 1'000'000;
  const auto lines = [next = 0, rest = std::string()](char* target, size_t bytes) mutable {
    while (rest.size() < bytes && next < kLines) rest += numbered_line(next++);
    const size_t count = rest.copy(target, bytes);
    rest.erase(0, count);
    return count;
  };
  const int64_t before = peak_memory();
  PreferenceReader reader(lines, "a.jsonl");
  for (Preference each; reader.next(each);) {
  }
  EXPECT_EQ(reader.counts().lines.kept, uint64_t{kLines});
  if (!heddle::testing::kSanitized) {
    EXPECT_LE(peak_memory() - before, 8 << 10);
  }
}

class PreferenceTokensSlow : public PreferenceTokensTest {};

TEST_F(PreferenceTokensSlow, AMillionLinesBecomeRowsThatGoOnFromAnyPlace) {
  constexpr int kLines = 1'000'000;
  {
    std::ofstream file(path("a.jsonl"));
    for (int i = 0; i < kLines; ++i) file << numbered_line(i);
  }
  const PreferenceOptions options{.files = {path("a.jsonl")},
                                  .reading{},
                                  .tokens{},
                                  .vocabularies = {vocabulary_},
                                  .chat_template{}};
  ThreadPool threads(2);
  const int64_t before = peak_memory();
  const PreferenceCache cache =
      open_preference_cache(options, tokenizer_, {}, path("cache"), &threads);
  if (!heddle::testing::kSanitized) {
    // Offsets of two lists a line, the cache itself as it is mapped, and buffers.
    EXPECT_LE(peak_memory() - before, 160 << 10);
  }
  ASSERT_EQ(cache.groups().size(), uint64_t{kLines});
  const RowPackerOptions rows{.packing_length = 4096};
  GroupPacker packer(cache.groups(), rows);
  std::vector<uint8_t> seen(kLines, 0);
  PackerPosition middle;
  std::vector<uint64_t> behind;
  PackedGroups row;
  for (int64_t i = 0; packer.next(row); ++i) {
    for (const uint64_t number : row.numbers) ++seen[number];
    if (i == 1234) middle = packer.position();
    if (i == 1235) behind = row.numbers;
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), 1), kLines);
  GroupPacker again(cache.groups(), rows, middle);
  ASSERT_TRUE(again.next(row));
  EXPECT_EQ(row.numbers, behind);
}

}  // namespace
}  // namespace heddle::data
