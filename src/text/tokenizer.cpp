#include "heddle/text/tokenizer.h"

#include <sentencepiece_processor.h>

#include <algorithm>
#include <exception>
#include <type_traits>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
#include "heddle/io/source.h"
#include "heddle/text/piece_index.h"
#include "heddle/text/sentencepiece_model.h"
#include "heddle/text/utf8.h"
#include "heddle/text/vocabulary.h"

namespace heddle::text {

namespace {

bool is_language_mark(std::string_view piece) {
  return piece.size() > 4 && piece.starts_with(">>") && piece.ends_with("<<");
}

}  // namespace

struct Tokenizer::State {
  /// How a piece is decoded: its text lies ready, so that decoding copies and never looks up.
  struct Surface {
    uint32_t begin = 0;
    uint16_t bytes = 0;
    int16_t byte = -1;  // of a byte piece
    PieceType type = PieceType::normal;
    bool begins_word = false;
  };

  sentencepiece::SentencePieceProcessor library;
  std::string surfaces;                  // the texts of all pieces, one after the other
  std::vector<Surface> table;            // by id
  std::string model_bytes;               // what the views below look into, or …
  std::vector<std::string> vocabulary;   // … these, when there is a vocabulary
  std::vector<std::string_view> pieces;  // by id
  PieceIndex ids;
  std::vector<int32_t> from_library;  // the id of the library's id; empty when they are equal
  int32_t eos = -1, unk = -1, pad = -1;
  bool strips_first_space = true;  // an opening ▁ is not part of the text …
  bool strips_each_space = true;   // … of each piece, as long as the text is empty
  bool denormalizes = false;
  bool has_language_marks = false;

  int32_t find(std::string_view piece) const { return ids.find(piece); }

  void add(std::string_view piece, PieceType type, const SentencePieceModel& model) {
    Surface surface;
    surface.begin = static_cast<uint32_t>(surfaces.size());
    if (type == PieceType::unknown) {
      surfaces += model.unknown_surface;
    } else if (type != PieceType::control && type != PieceType::byte) {
      append_replaced(surfaces, piece, kSpaceMark, " ");
    }
    surface.bytes = static_cast<uint16_t>(surfaces.size() - surface.begin);
    surface.byte = static_cast<int16_t>(type == PieceType::byte ? byte_of(piece) : -1);
    surface.type = type;
    surface.begins_word = piece.starts_with(kSpaceMark);
    table.push_back(surface);
  }

  const Surface& surface(int32_t id) const {
    HEDDLE_CHECK(id >= 0 && static_cast<size_t>(id) < table.size(), "tokenizer: found id ", id,
                 "; expected 0 to ", table.size() - 1);
    return table[static_cast<size_t>(id)];
  }

  /// Byte pieces from ids[i] on, together UTF-8; a byte that is not becomes U+FFFD. Returns where
  /// they end.
  size_t decode_bytes(std::span<const int32_t> given, size_t i, std::string& text) const {
    std::string bytes;
    for (; i < given.size() && surface(given[i]).byte >= 0; ++i) {
      bytes += static_cast<char>(surface(given[i]).byte);
    }
    for (size_t at = 0; at < bytes.size();) {
      const CodePoint point = decode_utf8(bytes, at);
      const size_t length = point.valid ? static_cast<size_t>(point.bytes) : 1;
      text.append(point.valid ? std::string_view(bytes).substr(at, length) : kReplacementUtf8);
      at += length;
    }
    return i;
  }

  void take_model(SentencePieceModel model) {
    pieces.reserve(model.pieces.size());
    table.reserve(model.pieces.size());
    surfaces.reserve(model.pieces.size() * 8);
    for (const auto& piece : model.pieces) {
      pieces.push_back(piece.text);
      add(piece.text, piece.type, model);
      if (piece.type == PieceType::unknown) unk = static_cast<int32_t>(pieces.size()) - 1;
    }
    ids = std::move(model.ids);
    eos = find(model.end_piece);
    pad = find(model.pad_piece);
  }

  /// Numbers the pieces as the vocabulary does; pieces it lacks become unknown.
  void take_vocabulary(const SentencePieceModel& model, std::string_view text,
                       std::string_view name) {
    vocabulary = parse_vocabulary(text, name);
    ids = PieceIndex(vocabulary.size());
    for (const std::string& piece : vocabulary) {
      ids.add(piece, static_cast<int32_t>(pieces.size()));
      pieces.push_back(piece);
      has_language_marks = has_language_marks || is_language_mark(piece);
    }
    unk = find(model.unknown_piece);
    eos = find(model.end_piece);
    pad = find(model.pad_piece);
    HEDDLE_CHECK(unk >= 0, "vocabulary: ", name, ": found no piece ",
                 io::quoted(model.unknown_piece),
                 "; expected it for what is not in the vocabulary");
    for (size_t i = 0; i < pieces.size(); ++i) {
      const auto id = static_cast<int32_t>(i);
      const int32_t known = model.ids.find(pieces[i]);
      PieceType type = id == eos || id == pad ? PieceType::control : PieceType::normal;
      if (known >= 0) type = model.pieces[static_cast<size_t>(known)].type;
      if (id == unk) type = PieceType::unknown;
      add(pieces[i], type, model);
    }
    from_library.reserve(model.pieces.size());
    for (const auto& piece : model.pieces) {
      const int32_t id = find(piece.text);
      from_library.push_back(id >= 0 ? id : unk);
    }
  }

  /// The library's ids of a text become those of the vocabulary. What the model does not know may
  /// still be a piece there: one that only the other language has.
  void renumber(std::string_view text, std::vector<int32_t>& given) const {
    const bool all_known = std::find(given.begin(), given.end(), library.unk_id()) == given.end();
    std::vector<std::string> surfaces_of_text;
    if (!all_known) {
      const auto status = library.Encode(text, &surfaces_of_text);
      HEDDLE_CHECK(status.ok() && surfaces_of_text.size() == given.size(),
                   "tokenizer: cannot encode a text of ", text.size(), " bytes twice alike");
    }
    for (size_t i = 0; i < given.size(); ++i) {
      const int32_t own = all_known ? -1 : find(surfaces_of_text[i]);
      given[i] = own >= 0 ? own : from_library[static_cast<size_t>(given[i])];
    }
  }

  /// A language mark at the head of the text and the spaces after it are taken off; -1: none.
  int32_t take_language_mark(std::string_view& text) const {
    if (!has_language_marks || !text.starts_with(">>")) return -1;
    const size_t end = text.substr(0, 64).find("<<");
    if (end == text.npos) return -1;
    const int32_t id = find(text.substr(0, end + 2));
    if (id < 0) return -1;
    text.remove_prefix(end + 2);
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
    return id;
  }
};

Tokenizer::Tokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Tokenizer::Tokenizer(Tokenizer&&) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&&) noexcept = default;
Tokenizer::~Tokenizer() = default;

int32_t Tokenizer::size() const { return static_cast<int32_t>(state_->table.size()); }
int32_t Tokenizer::eos() const { return state_->eos; }
int32_t Tokenizer::unk() const { return state_->unk; }
int32_t Tokenizer::pad() const { return state_->pad; }

std::vector<int32_t> Tokenizer::encode(std::string_view text) const {
  std::vector<int32_t> ids;
  encode(text, ids);
  return ids;
}

void Tokenizer::encode(std::string_view text, std::vector<int32_t>& ids) const {
  static_assert(std::is_same_v<int32_t, int>, "the library writes int");
  const int32_t mark = state_->take_language_mark(text);
  const auto status = state_->library.Encode(text, &ids);
  HEDDLE_CHECK(status.ok(), "tokenizer: cannot encode a text of ", text.size(),
               " bytes: ", status.ToString());
  if (!state_->from_library.empty()) state_->renumber(text, ids);
  if (mark >= 0) ids.insert(ids.begin(), mark);
}

std::string Tokenizer::decode(std::span<const int32_t> ids) const {
  std::string text;
  text.reserve(ids.size() * 6);
  decode(ids, text);
  return text;
}

void Tokenizer::decode(std::span<const int32_t> ids, std::string& text) const {
  const State& state = *state_;
  if (state.denormalizes) {
    text += decode_plainly(ids);
    return;
  }
  const size_t begin = text.size();
  bool at_start = true;  // an opening space may still come
  for (size_t i = 0; i < ids.size(); ++i) {
    const State::Surface& surface = state.surface(ids[i]);
    if (surface.byte >= 0) {
      i = state.decode_bytes(ids, i, text) - 1;
      continue;
    }
    at_start = at_start && text.size() == begin;
    std::string_view piece(state.surfaces.data() + surface.begin, surface.bytes);
    if (at_start && state.strips_first_space && surface.begins_word &&
        surface.type != PieceType::unknown && surface.type != PieceType::control) {
      piece.remove_prefix(1);
      at_start = state.strips_each_space;
    }
    text.append(piece);
  }
}

std::string Tokenizer::decode_plainly(std::span<const int32_t> ids) const {
  HEDDLE_CHECK(state_->from_library.empty(),
               "tokenizer: the library cannot decode ids of another vocabulary");
  for (const int32_t id : ids) state_->surface(id);
  std::string text;
  const auto status = state_->library.Decode(std::vector<int>(ids.begin(), ids.end()), &text);
  HEDDLE_CHECK(status.ok(), "tokenizer: cannot decode ", ids.size(), " ids: ", status.ToString());
  return text;
}

std::string_view Tokenizer::piece(int32_t id) const {
  state_->surface(id);
  return state_->pieces[static_cast<size_t>(id)];
}

int32_t Tokenizer::id_of(std::string_view piece) const { return state_->find(piece); }

bool Tokenizer::begins_word(int32_t id) const { return state_->surface(id).begins_word; }

Tokenizer make_tokenizer(std::string_view model, std::string_view model_name,
                         std::string_view vocabulary, std::string_view vocabulary_name) {
  auto state = std::make_unique<Tokenizer::State>();
  state->model_bytes = model;
  SentencePieceModel parsed = parse_sentencepiece(state->model_bytes, model_name);
  try {
    const auto status = state->library.LoadFromSerializedProto(model);
    HEDDLE_CHECK(status.ok(), "sentencepiece: ", model_name, ": ", status.ToString());
    state->library.unk_id();  // makes what it makes once, before there are threads
  } catch (const Error&) {
    throw;
  } catch (const std::exception& error) {
    HEDDLE_CHECK(false, "sentencepiece: ", model_name, ": ", error.what());
  }
  state->strips_first_space = parsed.add_dummy_prefix || parsed.remove_extra_whitespaces;
  state->strips_each_space = parsed.remove_extra_whitespaces;
  state->denormalizes = parsed.denormalizes;
  if (vocabulary.empty()) {
    state->take_model(std::move(parsed));
  } else {
    state->take_vocabulary(parsed, vocabulary, vocabulary_name);
  }
  return Tokenizer(std::move(state));
}

namespace {

/// The vocabulary beside source.spm or target.spm; empty when there is none.
std::string vocabulary_beside(const std::string& path) {
  const std::string name = io::file_name(path);
  if (name != "source.spm" && name != "target.spm") return {};
  const std::string folder = io::folder_of(path);
  for (const std::string_view usual : {"vocab.json", "vocab.yml"}) {
    const std::string beside = io::join_path(folder, usual);
    if (io::exists(beside)) return beside;
  }
  std::vector<std::string> found;
  for (const std::string& beside : io::list_folder(folder)) {
    if (beside.ends_with(".vocab.yml")) found.push_back(io::join_path(folder, beside));
  }
  HEDDLE_CHECK(found.size() <= 1, "tokenizer: ", folder, ": found ", found.size(),
               " files named *.vocab.yml; expected one (name the right one vocab.yml)");
  return found.empty() ? std::string() : found[0];
}

}  // namespace

Tokenizer load_tokenizer(const std::string& path, const std::string& vocabulary) {
  const std::string numbers = vocabulary.empty() ? vocabulary_beside(path) : vocabulary;
  const std::string model = io::read_text(path, kMaxModelBytes);
  if (numbers.empty()) return make_tokenizer(model, path);
  return make_tokenizer(model, path, io::read_text(numbers, kMaxModelBytes), numbers);
}

}  // namespace heddle::text
