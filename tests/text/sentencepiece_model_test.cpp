// Cases SP-01 … SP-10 and SP-A1, SP-A2: what a SentencePiece file may and may not hold. Everything
// refused must be refused by our own check, before libsentencepiece sees a byte.
#include "heddle/text/sentencepiece_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "heddle/base/error.h"
#include "heddle/text/tokenizer.h"
#include "tests/text/model_builder.h"

namespace heddle::text {
namespace {

std::string model_refusal(const std::string& bytes) {
  try {
    parse_sentencepiece(bytes, "v.spm");
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

void expect_model_refused(const std::string& bytes, const std::string& part) {
  const std::string message = model_refusal(bytes);
  EXPECT_NE(message.find(part), std::string::npos) << "message: " << message;
  EXPECT_EQ(message.rfind("sentencepiece: v.spm: ", 0), 0u) << "message: " << message;
  EXPECT_LE(message.size(), 512u);
}

/// The small model with one change.
std::string changed(const std::function<void(TestModel&)>& change) {
  TestModel model = small_model();
  change(model);
  return model.bytes();
}

void expect_works(const std::string& bytes) {
  EXPECT_EQ(model_refusal(bytes), "accepted");
  const Tokenizer tokenizer = make_tokenizer(bytes, "v.spm");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode("the cat")), "the cat");
}

TEST(SentencePieceModel, TwinOfTheDamagedOnesWorks) { expect_works(small_model().bytes()); }

TEST(SentencePieceModel, Sp01TruncatedAnywhere) {
  const std::string bytes = small_model().bytes();
  size_t accepted = 0;
  for (size_t length = 0; length < bytes.size(); ++length) {
    accepted += model_refusal(bytes.substr(0, length)) == "accepted";
  }
  // A file that ends between two pieces, or before its last part, is a smaller whole model.
  EXPECT_LE(accepted, small_model().pieces.size() + 2);
  expect_model_refused("", "found no pieces");
}

TEST(SentencePieceModel, Sp01WireFormat) {
  const std::string bytes = small_model().bytes();
  expect_model_refused(bytes + varint(1 << 3 | 2) + varint(1000), "found a length of 1000");
  expect_model_refused(bytes + varint(1 << 3 | 2) + varint(~uint64_t{0}),
                       "found a length of 18446744");
  expect_model_refused(bytes + varint(9 << 3 | 3), "found wire type 3");
  expect_model_refused(bytes + varint(9 << 3 | 4), "found wire type 4");
  expect_model_refused(bytes + varint(9 << 3 | 6), "found wire type 6");
  expect_model_refused(bytes + varint(9 << 3 | 7), "found wire type 7");
  expect_model_refused(bytes + varint(0 << 3 | 0) + varint(1), "found field 0");
  expect_model_refused(bytes + std::string(10, '\xFF') + '\x01', "more than 64 bits");
  expect_model_refused(bytes + std::string(9, '\xFF') + '\x02', "more than 64 bits");
  expect_model_refused(bytes + "\x08\xFF", "inside a number");
  expect_model_refused(bytes + varint(9 << 3 | 5) + "abc", "expected 4");
  expect_model_refused(bytes + varint(9 << 3 | 1) + "abc", "expected 8");
  expect_model_refused(bytes + varint_field(1, 5), "found wire type 0; expected 2");
  expect_model_refused(bytes + bytes_field(1, varint_field(1, 5)), "piece text");
  expect_model_refused(bytes + bytes_field(1, bytes_field(2, "abcd")), "piece score");
  expect_model_refused(bytes + bytes_field(1, bytes_field(3, "a")), "piece type");
  expect_works(bytes + varint_field(200, 7) + bytes_field(1000, "an extension"));
}

TEST(SentencePieceModel, Sp02EmptyAndDuplicatePieces) {
  expect_model_refused(changed([](TestModel& m) { m.pieces.push_back({""}); }), "an empty text");
  expect_model_refused(small_model().bytes() + bytes_field(1, float_field(2, -1)), "an empty text");
  expect_model_refused(changed([](TestModel& m) { m.pieces.push_back({"th"}); }), "'th' twice");
}

TEST(SentencePieceModel, Sp03UnknownPieces) {
  expect_model_refused(changed([](TestModel& m) { m.pieces[0].type = 1; }),
                       "found 0 pieces of the type");
  expect_model_refused(changed([](TestModel& m) { m.pieces[1].type = 2; }),
                       "found 2 pieces of the type");
}

TEST(SentencePieceModel, Sp04LongPieces) {
  for (const size_t bytes : {size_t{4097}, size_t{100} << 10, size_t{500} << 10, size_t{4} << 20}) {
    expect_model_refused(
        changed([&](TestModel& m) { m.pieces.push_back({std::string(bytes, 'x')}); }),
        "expected at most 4096");
  }
  expect_works(changed([](TestModel& m) { m.pieces.push_back({std::string(4096, 'x'), -90}); }));
  expect_works(changed([](TestModel& m) { m.pieces.push_back({std::string(4096, 'x'), 0, 4}); }));
}

TEST(SentencePieceModel, Sp05BytePieces) {
  const auto with = [](size_t count, const char* last) {
    return changed([&](TestModel& m) {
      m.byte_fallback = true;
      auto pieces = byte_pieces();
      pieces.resize(count);
      if (last != nullptr) pieces.back().text = last;
      m.pieces.insert(m.pieces.end(), pieces.begin(), pieces.end());
    });
  };
  expect_works(with(256, nullptr));
  expect_model_refused(with(255, nullptr), "found 255 byte pieces");
  expect_model_refused(with(0, nullptr), "found 0 byte pieces");
  for (const char* bad : {"<0xGG>", "<0x-1>", "<0x", "<0xff>", "0xFF", "<0x1FF>"}) {
    expect_model_refused(with(256, bad), "expected <0x00> to <0xFF>");
  }
  expect_model_refused(changed([](TestModel& m) {
                         m.pieces.push_back({"<0x00>", 0, 6});
                       }),
                       "without byte_fallback");
}

TEST(SentencePieceModel, Sp06ScoresAndTypes) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const float score : {std::nanf(""), kInfinity, -kInfinity}) {
    expect_model_refused(changed([&](TestModel& m) { m.pieces[5].score = score; }),
                         "piece 5: found the score");
  }
  for (const int type : {0, 7, 100}) {
    expect_model_refused(changed([&](TestModel& m) { m.pieces[5].type = type; }), "found type");
  }
  for (const int kind : {0, 5, 99}) {
    expect_model_refused(changed([&](TestModel& m) { m.kind = kind; }), "found model_type");
  }
}

TEST(SentencePieceModel, Sp08SpecialIds) {
  const auto with = [](uint32_t field, int64_t id) {
    return changed(
        [&](TestModel& m) { m.more_trainer = varint_field(field, static_cast<uint64_t>(id)); });
  };
  for (const auto& [field, name] : {std::pair<uint32_t, const char*>{40, "unk_id"},
                                    {41, "bos_id"},
                                    {42, "eos_id"},
                                    {43, "pad_id"}}) {
    expect_works(with(field, -1));
    expect_works(with(field, 5));
    expect_model_refused(with(field, static_cast<int64_t>(small_model().pieces.size())), name);
    expect_model_refused(with(field, INT32_MAX), name);
    expect_model_refused(with(field, INT32_MIN), name);
  }
}

TEST(SentencePieceModel, Sp09TenMillionPiecesAreRefusedBeforeTheyAreStored) {
  std::string bytes;
  for (int i = 0; i < 10'000'000; ++i) bytes += std::string_view("\x0A\x03\x0A\x01x", 5);
  expect_model_refused(bytes, "found 10000000 pieces");
}

TEST(SentencePieceModel, Sp10PiecesThatAreNotUtf8) {
  for (const char* bad : {"\xFF", "a\xC0\xAF", "\xED\xA0\x80", "\xE2\x96"}) {
    expect_model_refused(changed([&](TestModel& m) { m.pieces.push_back({bad}); }),
                         "expected UTF-8");
  }
}

TEST(SentencePieceModel, UserDefinedPiecesBeginOneAnother) {
  const auto nested = [](int count) {
    return changed([&](TestModel& m) {
      for (int i = 2; i < count + 2; ++i) {
        m.pieces.push_back({std::string(static_cast<size_t>(i), '~'), 0, 4});
      }
    });
  };
  expect_works(nested(64));
  const Tokenizer tokenizer = make_tokenizer(nested(64), "v.spm");
  EXPECT_EQ(tokenizer.decode(tokenizer.encode(std::string(1000, '~'))), std::string(1000, '~'));
  expect_model_refused(nested(65), "user-defined pieces that begin one another");
}

TEST(SentencePieceModel, SpA1PieceOfANul) {
  const std::string nul(1, '\0');
  expect_works(changed([&](TestModel& m) {
    m.kind = 2;
    m.pieces.push_back({nul, -50});
  }));
  expect_model_refused(changed([&](TestModel& m) { m.pieces.push_back({"a" + nul + "b"}); }),
                       "a NUL inside");
}

TEST(SentencePieceModel, SpA2AnyKindAndNoTrainer) {
  for (int kind = 1; kind <= 4; ++kind) {
    TestModel model = small_model(kind);
    EXPECT_EQ(model_refusal(model.bytes()), "accepted");
    const Tokenizer tokenizer = make_tokenizer(model.bytes(), "v.spm");
    EXPECT_FALSE(tokenizer.encode("the cat").empty());
  }
  expect_works(changed([](TestModel& m) { m.has_trainer = false; }));
}

}  // namespace
}  // namespace heddle::text
