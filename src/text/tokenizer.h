// Text to token ids and back, with a SentencePiece model.
//
//   const Tokenizer tokenizer = load_tokenizer("model/source.spm");
//   std::vector<int32_t> ids = tokenizer.encode("Hello world.");
//   std::string text = tokenizer.decode(ids);
//
// Ids are those of the SentencePiece model, or those of a vocabulary beside it (Marian's .yml,
// Hugging Face's vocab.json) that numbers the same pieces in another way, as OPUS-MT models have
// it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::text {

/// Immutable once made: any number of threads may encode and decode with one tokenizer at a time.
class Tokenizer {
 public:
  Tokenizer(Tokenizer&&) noexcept;
  Tokenizer& operator=(Tokenizer&&) noexcept;
  ~Tokenizer();

  int32_t size() const;

  // Special pieces; -1 when the vocabulary has none.
  int32_t eos() const;
  int32_t unk() const;
  int32_t pad() const;

  /// The ids of a text, without an end of sentence. Any bytes are taken: what is not UTF-8 is read
  /// as U+FFFD. A language mark at the head (">>deu<<") that is a piece of the vocabulary is one
  /// id.
  std::vector<int32_t> encode(std::string_view text) const;

  /// The same into `ids`, whose memory is used again.
  void encode(std::string_view text, std::vector<int32_t>& ids) const;

  /// The text of ids; control pieces are left out. Throws when an id is not in [0, size()).
  std::string decode(std::span<const int32_t> ids) const;

  /// The same, added to `text`.
  void decode(std::span<const int32_t> ids, std::string& text) const;

  /// What decode() must equal: the way through libsentencepiece. Not for vocabularies with ids of
  /// their own.
  std::string decode_plainly(std::span<const int32_t> ids) const;

  /// The piece of an id, as SentencePiece writes it: "▁the".
  std::string_view piece(int32_t id) const;

  /// The id of a piece; -1 when there is none.
  int32_t id_of(std::string_view piece) const;

  /// Whether the piece begins a word: "▁the", but not "ing".
  bool begins_word(int32_t id) const;

 private:
  friend Tokenizer make_tokenizer(std::string_view, std::string_view, std::string_view,
                                  std::string_view);
  struct State;
  explicit Tokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

/// Reads a SentencePiece model, every byte of which is checked first. `vocabulary` names the file
/// that numbers the pieces; when it is empty and the model is called source.spm or target.spm, as
/// in an OPUS-MT directory, vocab.json, vocab.yml or the one *.vocab.yml beside it is taken, if
/// any.
Tokenizer load_tokenizer(const std::string& path, const std::string& vocabulary = "");

/// The same from bytes; the names stand for the paths in errors. `vocabulary` may be empty.
Tokenizer make_tokenizer(std::string_view model, std::string_view model_name,
                         std::string_view vocabulary = {}, std::string_view vocabulary_name = {});

}  // namespace heddle::text
