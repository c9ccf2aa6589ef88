// SentencePiece model files for tests, written field by field.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::text {

// --- the wire format -----------------------------------------------------------------------------

inline std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes + static_cast<char>(value);
}

inline std::string varint_field(uint32_t field, uint64_t value) {
  return varint(field << 3) + varint(value);
}

inline std::string bytes_field(uint32_t field, std::string_view value) {
  return varint(field << 3 | 2) + varint(value.size()) + std::string(value);
}

inline std::string float_field(uint32_t field, float value) {
  std::string bytes(4, '\0');
  std::memcpy(bytes.data(), &value, 4);
  return varint(field << 3 | 5) + bytes;
}

// --- models --------------------------------------------------------------------------------------

struct TestPiece {
  std::string text;
  float score = 0;
  int type = 1;  // 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte
};

struct TestModel {
  std::vector<TestPiece> pieces;
  int kind = 1;  // 1 unigram, 2 bpe, 3 word, 4 char
  bool byte_fallback = false;
  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool has_trainer = true;
  std::string charsmap;
  std::string more_trainer;  // fields of trainer_spec, already written

  static std::string piece(const TestPiece& given) {
    return bytes_field(1, bytes_field(1, given.text) + float_field(2, given.score) +
                              varint_field(3, static_cast<uint64_t>(given.type)));
  }

  std::string bytes() const {
    std::string file;
    for (const TestPiece& given : pieces) file += piece(given);
    std::string trainer = varint_field(3, static_cast<uint64_t>(kind));
    if (byte_fallback) trainer += varint_field(35, 1);
    if (has_trainer) file += bytes_field(2, trainer + more_trainer);
    std::string normalizer = bytes_field(1, "test");
    if (!charsmap.empty()) normalizer += bytes_field(2, charsmap);
    normalizer += varint_field(3, add_dummy_prefix) + varint_field(4, remove_extra_whitespaces);
    return file + bytes_field(3, normalizer);
  }
};

/// The 256 pieces <0x00> to <0xFF>.
inline std::vector<TestPiece> byte_pieces() {
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::vector<TestPiece> pieces;
  for (unsigned value = 0; value < 256; ++value) {
    pieces.push_back({std::string("<0x") + kHex[value >> 4] + kHex[value & 15] + ">", 0, 6});
  }
  return pieces;
}

/// <unk> <s> </s>, all of printable ASCII alone and after ▁, and some words.
inline TestModel small_model(int kind = 1) {
  TestModel model;
  model.kind = kind;
  model.pieces = {{"<unk>", 0, 2}, {"<s>", 0, 3}, {"</s>", 0, 3}};
  const std::string space = "\xE2\x96\x81";
  float score = -1;
  for (const char* word : {"the", "cat", "sat", "on", "mat", "Hello", "world", "a", "is"}) {
    model.pieces.push_back({space + word, score -= 0.01f});
  }
  for (const char* part : {"th", "he", "at", "ing", "ed", "lo", "wor", "ld", "ä", "日", "本"}) {
    model.pieces.push_back({part, score -= 0.01f});
  }
  model.pieces.push_back({space, score -= 1});
  for (char c = '!'; c <= '~'; ++c) {
    model.pieces.push_back({std::string(1, c), score -= 0.01f});
  }
  return model;
}

}  // namespace heddle::text
