// Raw text to raw text with small random models: the same lines whatever the company, order,
// threads and window, and one line of output for each of input.
#include "heddle/decode/translator.h"

#include <gtest/gtest.h>

#include <thread>

#include "heddle/base/error.h"
#include "tests/decode/small_translator.h"

namespace heddle::decode {
namespace {

using test::lines_to_translate;
using test::ModelFolder;

std::vector<std::string> texts_of(const std::vector<Translation>& translations) {
  std::vector<std::string> texts;
  for (const Translation& translation : translations) texts.push_back(translation.text);
  return texts;
}

/// All lines through translate_stream.
std::vector<std::string> stream(const Translator& translator, const std::vector<std::string>& lines,
                                const Options& options = {}, Statistics* statistics = nullptr) {
  size_t next = 0;
  std::vector<std::string> out;
  const Statistics all = translator.translate_stream(
      [&](Translator::InputLine& line) {
        if (next == lines.size()) return false;
        line.text = lines[next++];
        return true;
      },
      [&](Translation&& translation) { out.push_back(std::move(translation.text)); }, options, {});
  if (statistics != nullptr) *statistics = all;
  return out;
}

TEST(Translator, CompanyOrderAndThreadsChangeNoLine) {
  for (const auto kind : {model::DecoderKind::ssru, model::DecoderKind::self_attention}) {
    const ModelFolder folder(kind);
    const std::vector<std::string> lines = lines_to_translate(150);
    const Translator plain(folder.model(), {.threads = 1, .rows = 1, .refill_rows = 1});
    std::vector<std::string> alone;
    for (const std::string& line : lines) alone.push_back(plain.translate(line).text);
    const std::vector<TranslatorSettings> settings{
        {.threads = 1},
        {.threads = 3},
        {.threads = 2, .rows = 5, .encode_tokens = 30, .refill_rows = 2, .window_lines = 7},
        {.threads = 2, .rows = 16, .refill_rows = 16, .parallel_text = false},
        {.threads = 4, .fused_choice = false},
        {.threads = 3, .text_threads = 2, .rows = 4, .refill_rows = 2, .window_lines = 9},
        {.threads = 2, .text_threads = 1, .parallel_text = false},
    };
    for (const TranslatorSettings& each : settings) {
      const Translator translator(folder.model(), each);
      EXPECT_EQ(texts_of(translator.translate(lines)), alone);
      EXPECT_EQ(stream(translator, lines), alone);
      std::vector<std::string> reversed(lines.rbegin(), lines.rend());
      std::vector<std::string> backwards = stream(translator, reversed);
      EXPECT_EQ(std::vector<std::string>(backwards.rbegin(), backwards.rend()), alone);
    }
  }
}

TEST(Translator, OtherWeightsGiveOtherLines) {  // the test above can fail
  const ModelFolder ssru(model::DecoderKind::ssru), other(model::DecoderKind::self_attention);
  const std::vector<std::string> lines = lines_to_translate(20);
  EXPECT_NE(texts_of(Translator(ssru.model()).translate(lines)),
            texts_of(Translator(other.model()).translate(lines)));
}

TEST(Translator, EveryLineHasItsLine) {
  const ModelFolder folder;
  const Translator translator(folder.model(), {.threads = 2, .max_line_bytes = 2000});
  const std::vector<std::string> lines = lines_to_translate(400);
  Statistics statistics;
  const std::vector<std::string> out = stream(translator, lines, {}, &statistics);
  ASSERT_EQ(out.size(), lines.size());
  EXPECT_EQ(statistics.lines, std::ssize(lines));
  EXPECT_GT(statistics.refused_lines, 0);
  EXPECT_EQ(statistics.threads, 2);
  EXPECT_GT(statistics.profile.encoder, 0);
  for (size_t i = 0; i < out.size(); ++i) {
    EXPECT_EQ(out[i].find('\n'), std::string::npos);
    if (lines[i].find_first_not_of(" \t") == std::string::npos) {
      EXPECT_EQ(out[i].find_first_not_of(" \t"), std::string::npos) << i;
    }
  }
  EXPECT_TRUE(stream(translator, {}).empty());
  EXPECT_TRUE(translator.translate(std::vector<std::string>{}).empty());
}

TEST(Translator, LongLinesAreCutAndJoined) {
  const ModelFolder folder;
  const Translator cutting(folder.model(), {.threads = 2, .max_source_tokens = 10});
  Statistics statistics;
  const std::vector<std::string> lines = lines_to_translate(60);
  const std::vector<std::string> out = stream(cutting, lines, {}, &statistics);
  EXPECT_EQ(out.size(), lines.size());
  EXPECT_GT(statistics.cut_lines, 10);
  const Translation details = cutting.translate(
      "the cat sat on the mat the cat sat on the mat the cat sat", {.alignments = true});
  ASSERT_EQ(details.variants.size(), 1u);
  const Variant& variant = details.variants[0];
  int32_t last_source = 0, last_target = 0;
  for (const Variant::Link& link : variant.alignment) {
    last_source = std::max(last_source, link.source);
    last_target = std::max(last_target, link.target);
  }
  EXPECT_EQ(last_source + 1, std::ssize(details.source_pieces));
  EXPECT_EQ(last_target + 1, std::ssize(variant.pieces));
}

TEST(Translator, VariantsScoresAndPrefixes) {
  const ModelFolder folder;
  const Translator translator(folder.model(), {.threads = 1});
  const Translation best =
      translator.translate("the cat sat", {.beam = 4, .n_best = 3, .scores = true});
  ASSERT_EQ(best.variants.size(), 3u);
  EXPECT_EQ(best.variants[0].text, best.text);
  EXPECT_GE(best.variants[0].score, best.variants[1].score);
  EXPECT_EQ(best.variants[0].pieces.size(), best.variants[0].token_scores.size());
  EXPECT_TRUE(translator.translate("the cat sat").variants.empty());

  const std::vector<std::string> lines{"the cat", "a mat"}, prefixes{"Hello world", ""};
  const std::vector<Translation> forced = translator.translate(lines, {}, prefixes);
  EXPECT_TRUE(forced[0].text.starts_with("Hello world")) << forced[0].text;
  EXPECT_EQ(forced[1].text, translator.translate("a mat").text);
  EXPECT_THROW(translator.translate(lines, {}, std::vector<std::string>{"one"}), Error);
}

TEST(Translator, SamplesDependOnSeedAndLineAlone) {
  const ModelFolder folder;
  Options options;
  options.sampling = {.enabled = true, .seed = 3};
  const std::vector<std::string> lines(30, "the cat sat on the mat");
  const auto one = texts_of(Translator(folder.model(), {.threads = 1}).translate(lines, options));
  const auto three = stream(Translator(folder.model(), {.threads = 3, .rows = 4, .refill_rows = 1}),
                            lines, options);
  EXPECT_EQ(one, three);
  options.sampling.seed = 4;
  EXPECT_NE(stream(Translator(folder.model()), lines, options), one);
  EXPECT_NE(one[0], one[1]);
}

TEST(Translator, ErrorsOfSourceAndSinkComeBack) {
  const ModelFolder folder;
  for (const int text : {0, 2}) {
    const Translator translator(folder.model(),
                                {.threads = 2, .text_threads = text, .window_lines = 4});
    const auto endless = [](Translator::InputLine& line) {
      line.text = "the cat";
      return true;
    };
    const auto failing_sink = [](Translation&&) { throw Error("disk full"); };
    EXPECT_THROW(translator.translate_stream(endless, failing_sink, {}, {}), Error);
    int count = 0;
    const auto failing_source = [&](Translator::InputLine& line) {
      HEDDLE_CHECK(++count < 50, "pipe broken");
      line.text = "a mat";
      return true;
    };
    EXPECT_THROW(translator.translate_stream(failing_source, [](Translation&&) {}, {}, {}), Error);
    EXPECT_FALSE(translator.translate("the cat").text.empty());  // and it still works
  }
}

TEST(Translator, StopsWhenAsked) {
  const ModelFolder folder;
  const Translator translator(folder.model(), {.threads = 2});
  std::atomic<bool> stop{false};
  int64_t written = 0;
  const Statistics statistics = translator.translate_stream(
      [](Translator::InputLine& line) {
        line.text = "the cat sat";
        return true;
      },
      [&](Translation&&) { stop = ++written == 100; }, {}, {.stop = &stop});
  EXPECT_EQ(written, 100);
  EXPECT_GE(statistics.lines, 100);
}

TEST(Translator, SeveralCallersAtOnce) {
  const ModelFolder folder;
  const Translator translator(folder.model(), {.threads = 2});
  const std::vector<std::string> lines = lines_to_translate(80);
  const std::vector<std::string> expected = texts_of(translator.translate(lines));
  std::vector<std::thread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] { EXPECT_EQ(texts_of(translator.translate(lines)), expected); });
  }
  for (std::thread& caller : callers) caller.join();
}

TEST(Translator, RefusesWrongSettings) {
  const ModelFolder folder;
  EXPECT_THROW(Translator(folder.model(), {.threads = -1}), Error);
  EXPECT_THROW(Translator(folder.model(), {.rows = 0}), Error);
  EXPECT_THROW(Translator(folder.model(), {.rows = 4, .refill_rows = 5}), Error);
  EXPECT_THROW(Translator(folder.model(), {.max_source_tokens = 1}), Error);
  EXPECT_THROW(Translator(folder.model(), {.shortlist = true}), Error);
  EXPECT_THROW(Translator(folder.file("nothing")), Error);
}

}  // namespace
}  // namespace heddle::decode
