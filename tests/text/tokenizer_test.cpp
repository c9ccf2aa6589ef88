// The tokenizer: what libsentencepiece gives, through our own decoder and other numberings.
#include "heddle/text/tokenizer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

#include "heddle/base/error.h"
#include "heddle/text/vocabulary.h"
#include "tests/text/model_builder.h"

namespace heddle::text {
namespace {

Tokenizer tokenizer_of(const TestModel& model) { return make_tokenizer(model.bytes(), "test.spm"); }

std::vector<std::string> pieces_of(const Tokenizer& tokenizer, std::string_view text) {
  std::vector<std::string> pieces;
  for (const int32_t id : tokenizer.encode(text)) pieces.emplace_back(tokenizer.piece(id));
  return pieces;
}

using Pieces = std::vector<std::string>;

TEST(Tokenizer, EncodesAndDecodes) {
  const Tokenizer tokenizer = tokenizer_of(small_model());
  EXPECT_EQ(pieces_of(tokenizer, "the cat sat."), (Pieces{"▁the", "▁cat", "▁sat", "."}));
  for (const std::string text : {"the cat sat on the mat.", "Hello world", "x", "", "日本"}) {
    EXPECT_EQ(tokenizer.decode(tokenizer.encode(text)), text);
  }
  EXPECT_EQ(tokenizer.unk(), 0);
  EXPECT_EQ(tokenizer.eos(), 2);
  EXPECT_EQ(tokenizer.pad(), -1);
  EXPECT_TRUE(tokenizer.begins_word(tokenizer.id_of("▁the")));
  EXPECT_FALSE(tokenizer.begins_word(tokenizer.id_of("ing")));
  EXPECT_EQ(tokenizer.id_of("no such piece"), -1);
}

TEST(Tokenizer, AppendsAndUsesMemoryAgain) {
  const Tokenizer tokenizer = tokenizer_of(small_model());
  std::vector<int32_t> ids(100, 7);
  tokenizer.encode("the cat", ids);
  std::string text = "> ";
  tokenizer.decode(ids, text);
  EXPECT_EQ(text, "> the cat");  // the opening space is left out, although `text` is not empty
}

TEST(Tokenizer, RefusesIdsOutsideTheVocabulary) {
  const Tokenizer tokenizer = tokenizer_of(small_model());
  for (const int32_t id : {-1, tokenizer.size(), INT32_MAX, INT32_MIN}) {
    EXPECT_THROW(tokenizer.decode(std::vector<int32_t>{id}), Error);
    EXPECT_THROW(tokenizer.piece(id), Error);
  }
}

/// Every kind of model, with and without the options that decoding looks at.
std::vector<TestModel> models() {
  std::vector<TestModel> all;
  for (int kind = 1; kind <= 4; ++kind) {
    for (int options = 0; options < 8; ++options) {
      TestModel model = small_model(kind);
      model.pieces.push_back({"\xE2\x96\x81\xE2\x96\x81", -9});
      model.pieces.push_back({"<user>", 0, 4});
      model.pieces.push_back({"unused", -3, 5});
      model.add_dummy_prefix = (options & 1) != 0;
      model.remove_extra_whitespaces = (options & 2) != 0;
      model.byte_fallback = (options & 4) != 0;
      if (model.byte_fallback) {
        for (const TestPiece& piece : byte_pieces()) model.pieces.push_back(piece);
      }
      all.push_back(model);
    }
  }
  return all;
}

TEST(Tokenizer, DecodesLikeTheLibrary) {
  std::mt19937 random(7);
  for (const TestModel& model : models()) {
    const Tokenizer tokenizer = tokenizer_of(model);
    for (int round = 0; round < 300; ++round) {
      std::vector<int32_t> ids(random() % 12);
      for (int32_t& id : ids) {
        id = static_cast<int32_t>(random() % static_cast<unsigned>(tokenizer.size()));
        if (random() % 3 == 0) id = tokenizer.id_of("\xE2\x96\x81");
        if (model.byte_fallback && random() % 2 == 0) id = tokenizer.id_of("<0xE2>");
        if (model.byte_fallback && random() % 4 == 0) id = tokenizer.id_of("<0x96>");
      }
      ASSERT_EQ(tokenizer.decode(ids), tokenizer.decode_plainly(ids))
          << "kind " << model.kind << ", dummy prefix " << model.add_dummy_prefix
          << ", spaces removed " << model.remove_extra_whitespaces;
    }
  }
}

TEST(Tokenizer, TakesAnyBytes) {
  std::mt19937 random(11);
  for (const TestModel& model : models()) {
    const Tokenizer tokenizer = tokenizer_of(model);
    for (int round = 0; round < 50; ++round) {
      std::string text(random() % 40, '\0');
      for (char& c : text) c = static_cast<char>(random());
      for (const int32_t id : tokenizer.encode(text)) {
        ASSERT_GE(id, 0);
        ASSERT_LT(id, tokenizer.size());
      }
    }
  }
}

TEST(Tokenizer, GivesTheSameInManyThreads) {
  const Tokenizer tokenizer = tokenizer_of(small_model());
  const std::string text = "the cat sat on the mat. Hello world, that is a thing";
  const auto expected = tokenizer.encode(text);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (size_t t = 0; t < wrong.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        wrong[t] += tokenizer.encode(text) != expected || tokenizer.decode(expected) != text;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

// --- vocabularies that number the pieces in another way
// --------------------------------------------

constexpr std::string_view kYaml =
    "</s>: 0\n<unk>: 1\n\"\\u2581the\": 2\n'▁cat': 3\n▁sat: 4\n\".\": 5\n>>deu<<: 6\n'''': 7\n";

TEST(Tokenizer, NumbersPiecesAsAMarianVocabulary) {
  const Tokenizer tokenizer =
      make_tokenizer(small_model().bytes(), "source.spm", kYaml, "vocab.yml");
  EXPECT_EQ(tokenizer.size(), 8);
  EXPECT_EQ(tokenizer.eos(), 0);
  EXPECT_EQ(tokenizer.unk(), 1);
  EXPECT_EQ(tokenizer.encode("the cat sat."), (std::vector<int32_t>{2, 3, 4, 5}));
  EXPECT_EQ(tokenizer.encode("the mat"), (std::vector<int32_t>{2, 1}));
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{2, 3, 7, 0}), "the cat'");
  EXPECT_EQ(tokenizer.encode(">>deu<< the cat"), (std::vector<int32_t>{6, 2, 3}));
  EXPECT_EQ(tokenizer.encode(">>fra<< the").back(), 2);
  EXPECT_THROW(tokenizer.decode_plainly(std::vector<int32_t>{2}), Error);
}

TEST(Tokenizer, NumbersPiecesAsAJsonVocabulary) {
  const Tokenizer tokenizer =
      make_tokenizer(small_model().bytes(), "source.spm",
                     "{\"</s>\": 0, \"<unk>\": 1, \"\\u2581the\": 3, \"<pad>\": 2}", "vocab.json");
  EXPECT_EQ(tokenizer.encode("the the"), (std::vector<int32_t>{3, 3}));
  EXPECT_EQ(tokenizer.pad(), 2);
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{3, 2, 2, 3, 0}), "the the");
}

TEST(Tokenizer, NumbersPiecesAsAList) {
  const Tokenizer list =
      make_tokenizer(small_model().bytes(), "source.spm",
                     " [\"</s>\", \"<unk>\", \"\\u2581cat\", \"\\u2581the\"]", "shared.json");
  const Tokenizer lines = make_tokenizer(small_model().bytes(), "source.spm",
                                         "</s>\n<unk>\n▁cat\n▁the", "shared_vocabulary.txt");
  for (const Tokenizer* tokenizer : {&list, &lines}) {
    EXPECT_EQ(tokenizer->size(), 4);
    EXPECT_EQ(tokenizer->encode("the cat"), (std::vector<int32_t>{3, 2}));
    EXPECT_EQ(tokenizer->decode(std::vector<int32_t>{2, 3, 0}), "cat the");
  }
}

// As Marian and Hugging Face do: the vocabulary serves two languages, the model one.
TEST(Tokenizer, FindsUnknownPiecesOfTheOtherLanguage) {
  const Tokenizer tokenizer =
      make_tokenizer(small_model().bytes(), "source.spm",
                     "{\"</s>\": 0, \"<unk>\": 1, \"▁the\": 2, \"ß\": 3, \"▁\": 4}", "vocab.json");
  EXPECT_EQ(tokenizer.encode("the ß"), (std::vector<int32_t>{2, 4, 3}));
  EXPECT_EQ(tokenizer.encode("the ж"), (std::vector<int32_t>{2, 4, 1}));
  EXPECT_EQ(tokenizer.decode(std::vector<int32_t>{2, 4, 3}), "the ß");
}

TEST(Tokenizer, FindsTheVocabularyOfAnOpusDirectory) {
  const auto folder = std::filesystem::temp_directory_path() / "heddle_opus_tokenizer";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  const auto write = [&](const char* name, std::string_view bytes) {
    std::ofstream(folder / name, std::ios::binary) << bytes;
  };
  write("source.spm", small_model().bytes());
  write("other.spm", small_model().bytes());
  EXPECT_EQ(load_tokenizer(folder / "source.spm").eos(), 2);
  write("opus.spm32k-spm32k.vocab.yml", kYaml);
  EXPECT_EQ(load_tokenizer(folder / "source.spm").eos(), 0);
  EXPECT_EQ(load_tokenizer(folder / "other.spm").eos(), 2);
  EXPECT_EQ(load_tokenizer(folder / "other.spm", folder / "opus.spm32k-spm32k.vocab.yml").eos(), 0);
  write("second.vocab.yml", kYaml);
  EXPECT_THROW(load_tokenizer(folder / "source.spm"), Error);
  write("vocab.json", "{\"</s>\": 1, \"<unk>\": 0}");
  EXPECT_EQ(load_tokenizer(folder / "source.spm").eos(), 1);
  EXPECT_THROW(load_tokenizer(folder), Error);
  EXPECT_THROW(load_tokenizer(folder / "absent.spm"), Error);
  std::filesystem::remove_all(folder);
}

TEST(Vocabulary, RefusesWhatDoesNotNumberPieces) {
  const auto message = [](std::string_view text) {
    try {
      parse_vocabulary(text, "v.yml");
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  EXPECT_EQ(message("a: 0\nb: 1\n"), "accepted");
  EXPECT_EQ(message("# comment\n---\n\na: b: 0\r\n\": \": 1\n'it''s': 2"), "accepted");
  for (const auto& [text, part] : std::vector<std::pair<std::string, std::string>>{
           {"", "found 0 pieces"},
           {"a: 0\na: 1\n", "'a' twice"},
           {"a: 0\nb: 0\n", "id 0 twice"},
           {"a: 0\nb: 2\n", "expected 0 to 1"},
           {"a: -1\n", "found id -1"},
           {"a: 99999999999999999999\n", "line 1"},
           {"a\n", "line 1"},
           {"\"a: 0\n", "closing quote"},
           {"\"\\q\": 0\n", "an escape that YAML knows"},
           {"\"\\ud800\": 0\n", "a Unicode character"},
           {"\"\\u12\": 0\n", "hexadecimal"},
           {"{\"a\": 0.5}", "expected an id"},
           {"[\"a\", 3]", "item 1"},
           {"[\"a\", \"b\", \"a\"]", "'a' twice"},
           {"[]", "found 0 pieces"},
           {"[\"a\"", "v.yml"},
           {"{\"a\": 0", "v.yml"},
           {"\xFF: 0", "not UTF-8"},
           {std::string(5000, 'x') + ": 0", "5000 bytes"}}) {
    EXPECT_NE(message(text).find(part), std::string::npos) << text.substr(0, 40) << message(text);
  }
}

}  // namespace
}  // namespace heddle::text
