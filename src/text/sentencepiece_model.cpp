#include "heddle/text/sentencepiece_model.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"
#include "heddle/text/charsmap.h"
#include "heddle/text/protobuf.h"
#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

/// The library looks at no more than so many user-defined pieces that begin one another.
constexpr size_t kMostNested = 64;

/// Ids that the trainer wrote down; the pieces themselves say the same and are what counts.
struct TrainerIds {
  int32_t unknown = 0, begin = -1, end = -1, pad = -1;
};

class Parser {
 public:
  Parser(std::string_view bytes, std::string_view name) : bytes_(bytes), name_(name) {}

  SentencePieceModel parse() {
    check(bytes_.size() <= kMaxModelBytes, "found ", bytes_.size(), " bytes; expected at most ",
          kMaxModelBytes);
    model_.pieces.reserve(count_pieces());
    for (ProtobufReader message(bytes_, name_, 0); message.next();) {
      if (message.field() == 1) read_piece(message.bytes("piece"), message.offset());
      if (message.field() == 2) read_trainer(message.bytes("trainer_spec"), message.offset());
      if (message.field() == 3) read_normalizer(message.bytes("normalizer_spec"), message.offset());
      if (message.field() == 5) {
        read_denormalizer(message.bytes("denormalizer_spec"), message.offset());
      }
    }
    check_pieces();
    check_byte_pieces();
    index_texts();
    check_user_defined();
    check_ids();
    return std::move(model_);
  }

 private:
  /// Not for the parts of a loop whose text costs something to make: those use HEDDLE_CHECK.
  template <typename... Parts>
  void check(bool condition, const Parts&... parts) const {
    HEDDLE_CHECK(condition, "sentencepiece: ", name_, ": ", parts...);
  }

  /// Before anything is allocated for them.
  size_t count_pieces() const {
    size_t count = 0;
    for (ProtobufReader message(bytes_, name_, 0); message.next();) count += message.field() == 1;
    check(count > 0, "found no pieces; expected a SentencePiece model");
    check(count <= kMaxPieces, "found ", count, " pieces; expected at most ", kMaxPieces);
    return count;
  }

  void read_piece(std::string_view bytes, size_t offset) {
    SentencePieceModel::Piece piece;
    for (ProtobufReader message(bytes, name_, offset); message.next();) {
      if (message.field() == 1) piece.text = message.bytes("piece text");
      if (message.field() == 2) piece.score = message.float32("piece score");
      if (message.field() == 3) {
        const uint64_t type = message.varint("piece type");
        check(type >= 1 && type <= 6, "piece ", model_.pieces.size(), " at offset ", offset,
              ": found type ", type, "; expected 1 to 6");
        piece.type = static_cast<PieceType>(type);
      }
    }
    model_.pieces.push_back(piece);
  }

  void read_trainer(std::string_view bytes, size_t offset) {
    for (ProtobufReader message(bytes, name_, offset); message.next();) {
      switch (message.field()) {
        case 3: {
          const uint64_t kind = message.varint("model_type");
          check(kind >= 1 && kind <= 4, "trainer_spec: found model_type ", kind,
                "; expected 1 (unigram), 2 (bpe), 3 (word) or 4 (char)");
          model_.kind = static_cast<SentencePieceKind>(kind);
          break;
        }
        case 35:
          model_.byte_fallback = message.boolean("byte_fallback");
          break;
        case 40:
          ids_.unknown = message.int32("unk_id");
          break;
        case 41:
          ids_.begin = message.int32("bos_id");
          break;
        case 42:
          ids_.end = message.int32("eos_id");
          break;
        case 43:
          ids_.pad = message.int32("pad_id");
          break;
        case 44:
          model_.unknown_surface = utf8(message.bytes("unk_surface"), "unk_surface");
          break;
        case 45:
          model_.unknown_piece = utf8(message.bytes("unk_piece"), "unk_piece");
          break;
        case 47:
          model_.end_piece = utf8(message.bytes("eos_piece"), "eos_piece");
          break;
        case 48:
          model_.pad_piece = utf8(message.bytes("pad_piece"), "pad_piece");
          break;
        default:
          break;
      }
    }
  }

  std::string_view utf8(std::string_view text, std::string_view field) const {
    check(text.size() <= kMaxPieceBytes && is_valid_utf8(text), "trainer_spec: found ", field, " ",
          io::quoted(text), "; expected UTF-8 of at most ", kMaxPieceBytes, " bytes");
    return text;
  }

  void read_normalizer(std::string_view bytes, size_t offset) {
    for (ProtobufReader message(bytes, name_, offset); message.next();) {
      if (message.field() == 2) check_table(message);
      if (message.field() == 3) model_.add_dummy_prefix = message.boolean("add_dummy_prefix");
      if (message.field() == 4) {
        model_.remove_extra_whitespaces = message.boolean("remove_extra_whitespaces");
      }
    }
  }

  void read_denormalizer(std::string_view bytes, size_t offset) {
    for (ProtobufReader message(bytes, name_, offset); message.next();) {
      if (message.field() != 2) continue;
      check_table(message);
      model_.denormalizes = model_.denormalizes || !message.bytes("table").empty();
    }
  }

  void check_table(const ProtobufReader& message) const {
    const std::string_view table = message.bytes("precompiled_charsmap");
    if (!table.empty()) check_charsmap(table, name_, message.offset());
  }

  void check_pieces() const {
    size_t unknown = 0;
    for (size_t id = 0; id < model_.pieces.size(); ++id) {
      const auto& piece = model_.pieces[id];
      check(!piece.text.empty(), "piece ", id, ": found an empty text");
      check(piece.text.size() <= kMaxPieceBytes, "piece ", id, ": found a text of ",
            piece.text.size(), " bytes; expected at most ", kMaxPieceBytes);
      HEDDLE_CHECK(is_valid_utf8(piece.text), "sentencepiece: ", name_, ": piece ", id, ": found ",
                   io::quoted(piece.text), "; expected UTF-8");
      HEDDLE_CHECK(piece.text.size() == 1 || piece.text.find('\0') == std::string_view::npos,
                   "sentencepiece: ", name_, ": piece ", id, ": found a NUL inside ",
                   io::quoted(piece.text));
      check(std::isfinite(piece.score), "piece ", id, ": found the score ", piece.score,
            "; expected a finite number");
      unknown += piece.type == PieceType::unknown;
    }
    check(unknown == 1, "found ", unknown, " pieces of the type unknown; expected 1");
  }

  /// "<0x00>" to "<0xFF>": all of them with byte_fallback, else none.
  void check_byte_pieces() const {
    std::array<bool, 256> seen{};
    size_t count = 0;
    for (size_t id = 0; id < model_.pieces.size(); ++id) {
      const auto& piece = model_.pieces[id];
      if (piece.type != PieceType::byte) continue;
      check(model_.byte_fallback, "piece ", id, ": found a byte piece without byte_fallback");
      const int value = byte_of(piece.text);
      HEDDLE_CHECK(value >= 0, "sentencepiece: ", name_, ": piece ", id, ": found the byte piece ",
                   io::quoted(piece.text), "; expected <0x00> to <0xFF>");
      count += !seen[static_cast<size_t>(value)];
      seen[static_cast<size_t>(value)] = true;
    }
    check(!model_.byte_fallback || count == 256, "found ", count,
          " byte pieces; byte_fallback needs 256");
  }

  void index_texts() {
    model_.ids = PieceIndex(model_.pieces.size());
    for (size_t id = 0; id < model_.pieces.size(); ++id) {
      const int32_t before = model_.ids.add(model_.pieces[id].text, static_cast<int32_t>(id));
      HEDDLE_CHECK(before < 0, "sentencepiece: ", name_, ": pieces ", before, " and ", id,
                   ": found ", io::quoted(model_.pieces[id].text), " twice");
    }
  }

  /// User-defined pieces: not too deep inside one another, and no NUL, where the library ends a
  /// text.
  void check_user_defined() const {
    std::vector<std::string_view> texts, nested;
    for (const auto& piece : model_.pieces) {
      if (piece.type == PieceType::user_defined) texts.push_back(piece.text);
    }
    std::sort(texts.begin(), texts.end());
    for (const std::string_view text : texts) {
      check(text[0] != '\0', "found a user-defined piece of a NUL");
      while (!nested.empty() && !text.starts_with(nested.back())) nested.pop_back();
      nested.push_back(text);
      HEDDLE_CHECK(nested.size() <= kMostNested, "sentencepiece: ", name_, ": found more than ",
                   kMostNested, " user-defined pieces that begin one another, such as ",
                   io::quoted(text));
    }
  }

  void check_ids() const {
    const auto below_size = [&](int32_t id, std::string_view field) {
      check(id >= -1 && id < static_cast<int64_t>(model_.pieces.size()), "trainer_spec: found ",
            field, " ", id, "; expected -1 to ", model_.pieces.size() - 1);
    };
    below_size(ids_.unknown, "unk_id");
    below_size(ids_.begin, "bos_id");
    below_size(ids_.end, "eos_id");
    below_size(ids_.pad, "pad_id");
  }

  std::string_view bytes_;
  std::string_view name_;
  SentencePieceModel model_;
  TrainerIds ids_;
};

}  // namespace

int byte_of(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  const int high = digit(piece[3]), low = digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

SentencePieceModel parse_sentencepiece(std::string_view bytes, std::string_view name) {
  return Parser(bytes, name).parse();
}

}  // namespace heddle::text
