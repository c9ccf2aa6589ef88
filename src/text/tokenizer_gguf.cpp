#include "heddle/text/tokenizer_gguf.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/io/quoted.h"
#include "heddle/text/piece_index.h"
#include "heddle/text/sentencepiece_model.h"
#include "heddle/text/tokenizer_json.h"

namespace heddle::text {

namespace {

/// How words are cut and normed before bytes are merged, by tokenizer.ggml.pre.
struct WordRule {
  std::string_view name;
  std::string_view pattern;  // empty: GPT-2's own
  bool composes = false;     // NFC
  bool takes_words = false;  // a word that is a piece is not merged
};

constexpr std::string_view kThreeDigits =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::string_view kOneDigit =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
constexpr std::array<WordRule, 3> kWordRules{
    {{.name = "gpt-2", .pattern = {}},
     {.name = "llama-bpe", .pattern = kThreeDigits, .takes_words = true},
     {.name = "qwen2", .pattern = kOneDigit, .composes = true}}};

using Members = std::initializer_list<std::pair<const char*, io::Value>>;

io::Value object(Members members) {
  io::Value made{io::Value::Map{}};
  for (const auto& [key, value] : members) made.set(key, value);
  return made;
}

class GgufTokenizerReader {
 public:
  explicit GgufTokenizerReader(const io::GgufFile& file)
      : file_(file), pieces_(file.texts("tokenizer.ggml.tokens")), ids_(pieces_.size()) {
    HEDDLE_CHECK(pieces_.size() <= kMaxBpePieces, "tokenizer: ", file.source().name(), ": found ",
                 pieces_.size(), " pieces; expected at most ", kMaxBpePieces);
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const int32_t before = ids_.add(pieces_[i], static_cast<int32_t>(i));
      if (before >= 0) fail(i, str("as number ", before, " too"), "every piece once");
      if (pieces_[i].size() > kMaxPieceBytes) fail(i, "that long", "at most 4,096 bytes");
    }
    read_types();
  }

  GgufTokenizer read() {
    const std::string& model = file_.text("tokenizer.ggml.model");
    scored_ = model == "llama";
    if (!scored_ && model != "gpt2") {
      file_.fail(*file_.find_key("tokenizer.ggml.model"), "llama or gpt2");
    }
    io::Value json;
    json.set("version", "1.0");
    json.set("added_tokens", added());
    if (scored_) {
      read_scored(json);
    } else {
      read_bytes(json);
    }
    json.set("post_processor", around());
    return {.json = io::to_json(json), .config = io::to_json(config())};
  }

 private:
  [[noreturn]] void fail(size_t id, const std::string& found, std::string_view expected) const {
    detail::throw_error(str("tokenizer: ", file_.source().name(), ": piece ", id, ", ",
                            io::quoted(pieces_[id].substr(0, 40)), ": found it ", found,
                            "; expected ", expected));
  }

  void read_types() {
    types_.assign(pieces_.size(), PieceType::normal);
    if (file_.find_key("tokenizer.ggml.token_type") == nullptr) return;
    const std::vector<int32_t> types = file_.array<int32_t>("tokenizer.ggml.token_type");
    check_count("tokenizer.ggml.token_type", types.size());
    for (size_t i = 0; i < types.size(); ++i) {
      if (types[i] < 1 || types[i] > 6) fail(i, str("of type ", types[i]), "a type of 1 … 6");
      types_[i] = static_cast<PieceType>(types[i]);
      if (types_[i] == PieceType::byte && byte_of(pieces_[i]) < 0) {
        fail(i, "a byte", "<0x00> … <0xFF>");
      }
    }
  }

  void check_count(const char* key, size_t count) const {
    if (count != pieces_.size()) {
      file_.fail(*file_.find_key(key), str(pieces_.size(), " of them, one a piece"));
    }
  }

  int32_t token(const char* name) const {
    const std::string key = str("tokenizer.ggml.", name);
    if (file_.find_key(key) == nullptr) return -1;
    return static_cast<int32_t>(file_.integer(key, 0, static_cast<int64_t>(pieces_.size()) - 1));
  }
  std::string piece(int32_t id) const { return std::string(pieces_[static_cast<size_t>(id)]); }

  /// A piece as text is once normed. Files write the spaces of what users defined as they are, but
  /// SentencePiece looks for it in normed text. Not with a prefix, which a tokenizer.json would put
  /// before the piece, too.
  std::string text_of(size_t id) const {
    std::string text(pieces_[id]);
    if (!scored_ || has_prefix() || types_[id] != PieceType::user_defined) return text;
    for (size_t at = text.find(' '); at != std::string::npos; at = text.find(' ', at)) {
      text.replace(at, 1, kSpaceMark);
    }
    return text;
  }

  bool has_prefix() const { return flag("add_space_prefix", true); }

  bool flag(const char* name, bool otherwise) const {
    const std::string key = str("tokenizer.ggml.", name);
    return file_.find_key(key) == nullptr ? otherwise : file_.boolean(key);
  }

  /// Control pieces, which text does not spell, and what users defined, which is never cut.
  io::Value added() const {
    io::Value::List tokens;
    for (size_t i = 0; i < pieces_.size(); ++i) {
      const bool special = types_[i] == PieceType::control || types_[i] == PieceType::unknown;
      if (!special && types_[i] != PieceType::user_defined) continue;
      const std::string text = text_of(i);
      const bool spaces = text.find(kSpaceMark) != std::string::npos;
      tokens.push_back(object({{"id", io::Value(static_cast<int64_t>(i))},
                               {"content", io::Value(text)},
                               {"single_word", false},
                               {"lstrip", false},
                               {"rstrip", false},
                               {"normalized", !special && spaces},
                               {"special", special}}));
    }
    return tokens;
  }

  io::Value vocabulary() const {
    io::Value::Map ids;
    for (size_t i = 0; i < pieces_.size(); ++i) {
      ids.push_back({text_of(i), io::Value(static_cast<int64_t>(i))});
    }
    return ids;
  }

  struct Merge {
    int32_t left, right;
    float score;
  };

  /// Every way to cut a piece into two, the highest score of the whole first; of one score longer
  /// beginnings first, as Hugging Face ranks them.
  std::vector<Merge> merges_of(const std::vector<float>& scores) const {
    std::vector<Merge> merges;
    for (size_t id = 0; id < pieces_.size(); ++id) {
      if (types_[id] != PieceType::normal) continue;
      const std::string_view whole = pieces_[id];
      const size_t first = merges.size();
      for (size_t cut = 1; cut < whole.size(); ++cut) {
        if ((static_cast<unsigned char>(whole[cut]) & 0xC0) == 0x80) continue;  // in a character
        const int32_t left = ids_.find(whole.substr(0, cut)), right = ids_.find(whole.substr(cut));
        if (left >= 0 && right >= 0) merges.push_back({left, right, scores[id]});
      }
      std::sort(merges.begin() + static_cast<std::ptrdiff_t>(first), merges.end(),
                [](const Merge& a, const Merge& b) {
                  return std::pair(a.left, a.right) < std::pair(b.left, b.right);
                });
      HEDDLE_CHECK(merges.size() <= kMaxBpeMerges, "tokenizer: ", file_.source().name(),
                   ": found more than ", kMaxBpeMerges, " merges; expected fewer");
    }
    std::stable_sort(merges.begin(), merges.end(),
                     [](const Merge& a, const Merge& b) { return a.score > b.score; });
    return merges;
  }

  void read_scored(io::Value& json) const {
    const std::vector<float> scores = file_.array<float>("tokenizer.ggml.scores");
    check_count("tokenizer.ggml.scores", scores.size());
    for (size_t i = 0; i < scores.size(); ++i) {
      if (!std::isfinite(scores[i])) fail(i, str("with the score ", scores[i]), "a finite one");
    }
    const bool prefix = has_prefix();
    const std::string mark(kSpaceMark);
    const auto replace = [](const std::string& from, const std::string& to) {
      return object({{"type", "Replace"},
                     {"pattern", object({{"String", io::Value(from)}})},
                     {"content", io::Value(to)}});
    };
    io::Value::List norms;
    if (prefix) norms.push_back(object({{"type", "Prepend"}, {"prepend", io::Value(mark)}}));
    norms.push_back(replace(" ", mark));
    json.set("normalizer", object({{"type", "Sequence"}, {"normalizers", std::move(norms)}}));
    json.set("pre_tokenizer", io::Value());

    io::Value::List merges;
    for (const Merge& merge : merges_of(scores)) {
      merges.push_back(
          io::Value::List{io::Value(piece(merge.left)), io::Value(piece(merge.right))});
    }
    const int32_t unk = token("unknown_token_id");
    io::Value model = object({{"type", "BPE"},
                              {"unk_token", unk < 0 ? io::Value() : io::Value(piece(unk))},
                              {"fuse_unk", true},
                              {"byte_fallback", true},
                              {"ignore_merges", false}});
    model.set("vocab", vocabulary());
    model.set("merges", std::move(merges));
    json.set("model", std::move(model));
    io::Value::List back{replace(mark, " "), object({{"type", "ByteFallback"}}),
                         object({{"type", "Fuse"}})};
    if (prefix) {
      back.push_back(object({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}}));
    }
    json.set("decoder", object({{"type", "Sequence"}, {"decoders", std::move(back)}}));
  }

  void read_bytes(io::Value& json) const {
    const std::string& name = file_.text("tokenizer.ggml.pre");
    const auto* rule = std::ranges::find(kWordRules, name, &WordRule::name);
    if (rule == kWordRules.end()) {
      file_.fail(*file_.find_key("tokenizer.ggml.pre"), "gpt-2, llama-bpe or qwen2");
    }
    const bool plain = rule->pattern.empty();
    const auto byte_level = [](bool cuts) {
      return object({{"type", "ByteLevel"},
                     {"add_prefix_space", false},
                     {"trim_offsets", true},
                     {"use_regex", cuts}});
    };
    json.set("normalizer", rule->composes ? object({{"type", "NFC"}}) : io::Value());
    if (plain) {
      json.set("pre_tokenizer", byte_level(true));
    } else {
      io::Value::List steps{object({{"type", "Split"},
                                    {"pattern", object({{"Regex", std::string(rule->pattern)}})},
                                    {"behavior", "Isolated"},
                                    {"invert", false}}),
                            byte_level(false)};
      json.set("pre_tokenizer",
               object({{"type", "Sequence"}, {"pretokenizers", std::move(steps)}}));
    }
    const io::GgufTexts texts = file_.texts("tokenizer.ggml.merges");
    io::Value::List merges;
    for (size_t i = 0; i < texts.size(); ++i) merges.emplace_back(std::string(texts[i]));
    io::Value model = object({{"type", "BPE"},
                              {"unk_token", io::Value()},
                              {"fuse_unk", false},
                              {"byte_fallback", false},
                              {"ignore_merges", rule->takes_words}});
    model.set("vocab", vocabulary());
    model.set("merges", std::move(merges));
    json.set("model", std::move(model));
    json.set("decoder", byte_level(true));
  }

  /// What is put around a text.
  io::Value around() const {
    const int32_t bos = flag("add_bos_token", scored_) ? token("bos_token_id") : -1;
    const int32_t eos = flag("add_eos_token", false) ? token("eos_token_id") : -1;
    if (bos < 0 && eos < 0) return {};
    io::Value::List parts;
    io::Value used{io::Value::Map{}};
    const auto add = [&](int32_t id) {
      if (id < 0) return;
      const std::string text = piece(id);
      parts.push_back(
          object({{"SpecialToken", object({{"id", io::Value(text)}, {"type_id", 0}})}}));
      used.set(text, object({{"id", io::Value(text)},
                             {"ids", io::Value::List{io::Value(int64_t{id})}},
                             {"tokens", io::Value::List{io::Value(text)}}}));
    };
    add(bos);
    parts.push_back(object({{"Sequence", object({{"id", "A"}, {"type_id", 0}})}}));
    add(eos);
    io::Value::List pair{object({{"Sequence", object({{"id", "A"}, {"type_id", 0}})}}),
                         object({{"Sequence", object({{"id", "B"}, {"type_id", 1}})}})};
    return object({{"type", "TemplateProcessing"},
                   {"single", std::move(parts)},
                   {"pair", std::move(pair)},
                   {"special_tokens", std::move(used)}});
  }

  io::Value config() const {
    io::Value json{io::Value::Map{}};
    const auto name = [&](const char* as, const char* key) {
      if (const int32_t id = token(key); id >= 0) json.set(as, piece(id));
    };
    name("bos_token", "bos_token_id");
    name("eos_token", "eos_token_id");
    name("pad_token", "padding_token_id");
    name("unk_token", "unknown_token_id");
    json.set("tokenizer_class", "PreTrainedTokenizerFast");
    if (file_.find_key("tokenizer.chat_template") != nullptr) {
      json.set("chat_template", file_.text("tokenizer.chat_template"));
    }
    return json;
  }

  const io::GgufFile& file_;
  const io::GgufTexts pieces_;
  PieceIndex ids_;
  std::vector<PieceType> types_;
  bool scored_ = false;
};

}  // namespace

GgufTokenizer read_gguf_tokenizer(const io::GgufFile& file) {
  return GgufTokenizerReader(file).read();
}

BpeTokenizer load_gguf_tokenizer(const std::string& path) {
  const io::GgufModel model(path);
  const GgufTokenizer files = read_gguf_tokenizer(model.files().front());
  return make_bpe_tokenizer(files.json, path, files.config, path);
}

}  // namespace heddle::text
