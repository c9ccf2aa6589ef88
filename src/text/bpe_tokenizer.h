// Text to token ids and back, with a byte-pair tokenizer of Hugging Face's tokenizer.json: byte
// level (GPT-2, Llama 3, Qwen, Mistral's later models) or characters with byte fallback (what is
// exported from SentencePiece for Llama 2 and Gemma).
//
//   const BpeTokenizer tokenizer = load_bpe_tokenizer("model");   // the directory, or the file
//   std::vector<int32_t> ids = tokenizer.encode("Hello world.");
//   std::string text = tokenizer.decode(ids);
//
//   BpeStream stream(tokenizer);                                  // while a text is made
//   for (int32_t id : ids) show(stream.push(id));
//   show(stream.finish());
//
// Ids and texts equal those of Hugging Face's own library, as tests/golden/bpe has it.
//
// size(), eos(), unk(), pad(), encode(text, ids), decode(ids), piece(), id_of() and begins_word()
// mean what they mean in Tokenizer, so that one front can hold either: Tokenizer's State is what
// would become a choice of the two, and load_tokenizer() would choose by the name of the file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::text {

struct BpeEncodeOptions {
  bool add_special_tokens = false;  // what the file's post-processor puts around a text
  bool allow_special = true;        // "<|eot_id|>" in the text is that token; false for strangers'
  bool continues = false;           // the text stands behind another: nothing is put before it
};

/// Immutable once made: any number of threads may encode and decode with one tokenizer at a time.
class BpeTokenizer {
 public:
  BpeTokenizer(BpeTokenizer&&) noexcept;
  BpeTokenizer& operator=(BpeTokenizer&&) noexcept;
  ~BpeTokenizer();

  /// One more than the largest id.
  int32_t size() const;

  // Of tokenizer_config.json; -1 when it names none. unk() is the model's.
  int32_t bos() const;
  int32_t eos() const;
  int32_t pad() const;
  int32_t unk() const;

  /// The ids of a text. Any bytes are taken: what is not UTF-8 is read as U+FFFD. Throws for more
  /// than kMaxTextBytes, and when the file's regular expression does not end in reasonable time.
  std::vector<int32_t> encode(std::string_view text, const BpeEncodeOptions& options = {}) const;

  /// The same into `ids`, whose memory is used again.
  void encode(std::string_view text, std::vector<int32_t>& ids,
              const BpeEncodeOptions& options = {}) const;

  /// The text of ids, special tokens left out or not. Throws when an id is not in [0, size()); an
  /// id without a piece is nothing.
  std::string decode(std::span<const int32_t> ids, bool skip_special = true) const;

  /// The piece of an id, as the file writes it: "Ġthe".
  std::string_view piece(int32_t id) const;

  /// The id of a piece, an added token included; -1 when there is none.
  int32_t id_of(std::string_view piece) const;

  bool is_special(int32_t id) const;

  /// Whether the piece begins a word: "Ġthe" or "▁the", but not "ing".
  bool begins_word(int32_t id) const;

  static constexpr size_t kMaxTextBytes = size_t{16} << 20;

 private:
  friend class BpeStream;
  friend BpeTokenizer make_bpe_tokenizer(std::string_view, std::string_view, std::string_view,
                                         std::string_view);
  struct State;
  explicit BpeTokenizer(std::unique_ptr<const State> state);
  std::unique_ptr<const State> state_;
};

/// Decodes ids one by one, for a text that is shown while it is made. All it gives, put together,
/// is what decode() gives; no part ends inside a character. The tokenizer must outlive it.
class BpeStream {
 public:
  explicit BpeStream(const BpeTokenizer& tokenizer, bool skip_special = true);
  BpeStream(BpeStream&&) noexcept;
  BpeStream& operator=(BpeStream&&) noexcept;
  ~BpeStream();

  /// What is certain now; often nothing, where a piece is part of a character.
  std::string push(int32_t id);

  /// The rest. Then the stream is at its beginning again.
  std::string finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// Reads tokenizer.json, of which every part is checked; what is not known is refused by name.
/// `path` may be the directory it is in. bos, eos and pad are from tokenizer_config.json beside it,
/// if there is one.
BpeTokenizer load_bpe_tokenizer(const std::string& path);

/// The same from texts; the names stand for the paths in errors. `config` may be empty.
BpeTokenizer make_bpe_tokenizer(std::string_view json, std::string_view name,
                                std::string_view config = {}, std::string_view config_name = {});

}  // namespace heddle::text
