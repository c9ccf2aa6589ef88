#include "heddle/text/vocabulary_training.h"

#include <gtest/gtest.h>

#include <vector>

#include "heddle/base/error.h"
#include "heddle/base/random.h"
#include "heddle/text/tokenizer.h"

namespace heddle::text {
namespace {

std::vector<std::string> lines_of(int count, uint64_t seed) {
  const std::vector<std::string> words{"warp",   "weft",  "loom",  "shuttle", "heddle",
                                       "thread", "größe", "Faden", "ткань"};
  Random random(seed);
  std::vector<std::string> lines;
  for (int i = 0; i < count; ++i) {
    std::string line;
    for (int64_t n = random.between(3, 9); n > 0; --n) {
      line += (line.empty() ? "" : " ") + words[random.below(words.size())];
    }
    lines.push_back(line);
  }
  return lines;
}

TrainedVocabulary train(const std::vector<std::string>& lines, const VocabularySettings& settings) {
  size_t at = 0;
  return train_vocabulary(
      [&](std::string_view& line) {
        if (at == lines.size()) return false;
        line = lines[at++];
        return true;
      },
      settings);
}

TEST(VocabularyTraining, MakesATokenizer) {
  const auto lines = lines_of(500, 1);
  for (const char* type : {"unigram", "bpe"}) {
    const TrainedVocabulary made = train(lines, {.size = 36, .model_type = type});
    EXPECT_EQ(made.lines, 500u);
    EXPECT_EQ(made.sampled, 500u);
    const Tokenizer tokenizer = make_tokenizer(made.model, type);
    EXPECT_EQ(tokenizer.size(), 36);
    EXPECT_EQ(tokenizer.eos(), 0);
    EXPECT_EQ(tokenizer.unk(), 1);
    EXPECT_EQ(tokenizer.pad(), 2);
    for (const std::string& line : lines) {
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(line)), line);
    }
  }
}

TEST(VocabularyTraining, TheSameTextGivesTheSameBytes) {
  const auto lines = lines_of(300, 2);
  const VocabularySettings settings{.size = 34, .most_lines = 100, .seed = 5};
  const TrainedVocabulary made = train(lines, settings);
  EXPECT_EQ(made.sampled, 100u);
  EXPECT_EQ(made.model, train(lines, settings).model);
  VocabularySettings other = settings;
  other.seed = 6;
  EXPECT_NE(made.model, train(lines, other).model);
}

TEST(VocabularyTraining, ByteFallbackHasEveryByte) {
  const TrainedVocabulary made =
      train(lines_of(300, 3), {.size = 320, .model_type = "bpe", .byte_fallback = true});
  const Tokenizer tokenizer = make_tokenizer(made.model, "bytes");
  for (const char* text : {"🧵 织", "heddle"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
}

TEST(VocabularyTraining, RefusesWithAReason) {
  const auto refused = [](const std::vector<std::string>& lines, const VocabularySettings& settings,
                          const char* part) {
    try {
      train(lines, settings);
      ADD_FAILURE() << "accepted; expected: " << part;
    } catch (const Error& error) {
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    }
  };
  refused({}, {}, "no line");
  refused({"", ""}, {}, "no line");
  refused(lines_of(50, 4), {.size = 8000}, "size too high (8000)");
  refused(lines_of(50, 4), {.size = 3}, "vocab_size");
  refused(lines_of(50, 4), {.size = 50, .model_type = "word"}, "bpe");
  refused(lines_of(50, 4), {.size = 50, .character_coverage = 0.5}, "character_coverage");
  refused({std::string(5000, 'a')}, {.size = 50}, "no line");  // longer than the library takes
}

}  // namespace
}  // namespace heddle::text
