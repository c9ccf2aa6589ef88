// A SentencePiece model file, read and checked as a whole. libsentencepiece trusts its input (a
// damaged file makes it read out of bounds, recurse without end or stop the process), so that only
// bytes that passed here are handed to it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "heddle/text/piece_index.h"

namespace heddle::text {

enum class PieceType : uint8_t {
  normal = 1,
  unknown = 2,
  control = 3,
  user_defined = 4,
  unused = 5,
  byte = 6
};

enum class SentencePieceKind : uint8_t { unigram = 1, bpe = 2, word = 3, character = 4 };

/// What Heddle needs of a model. Texts are views into the bytes that were parsed.
struct SentencePieceModel {
  struct Piece {
    std::string_view text;
    float score = 0;
    PieceType type = PieceType::normal;
  };
  std::vector<Piece> pieces;  // by id
  PieceIndex ids;             // of the texts

  SentencePieceKind kind = SentencePieceKind::unigram;
  bool byte_fallback = false;
  std::string_view unknown_piece = "<unk>", end_piece = "</s>", pad_piece = "<pad>";
  std::string_view unknown_surface = " \xE2\x81\x87 ";  // what an unknown piece is decoded to

  bool add_dummy_prefix = true;
  bool remove_extra_whitespaces = true;
  bool denormalizes = false;  // a table is applied to decoded text
};

/// 0 to 255 for "<0x00>" to "<0xFF>", -1 for any other piece.
int byte_of(std::string_view piece);

/// Limits that no real model comes near.
inline constexpr size_t kMaxModelBytes = size_t{256} << 20;
inline constexpr size_t kMaxPieces = 1'000'000;
inline constexpr size_t kMaxPieceBytes = 4096;  // the library recurses once a byte

/// Reads and checks a model; throws an Error that names the file (`name`), the field, what was
/// found and what was expected.
SentencePieceModel parse_sentencepiece(std::string_view bytes, std::string_view name);

}  // namespace heddle::text
