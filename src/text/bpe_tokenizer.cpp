#include "heddle/text/bpe_tokenizer.h"

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
#include "heddle/io/source.h"
#include "heddle/text/piece_index.h"
#include "heddle/text/tokenizer_json.h"
#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

/// Memory for one call of encode().
struct EncodeScratch {
  SplitScratch split;
  BpeScratch model;
  SplitText text;
  std::vector<AddedTokens::Part> parts, inner;
  std::string normalized;
};

}  // namespace

struct BpeTokenizer::State {
  explicit State(TokenizerJson file)
      : model(std::move(file.vocabulary)),
        normalizer(std::move(file.normalizer)),
        splitter(std::move(file.splitter)),
        decoder(std::move(file.decoder)),
        before(std::move(file.before)),
        after(std::move(file.after)),
        added(std::move(file.added)) {
    take_pieces(static_cast<size_t>(file.size));
    std::vector<AddedToken> plain, normalized;
    for (const AddedToken& token : added) {
      AddedToken wanted = token;
      if (token.normalized) {
        std::string storage;
        wanted.content = normalizer.apply(token.content, storage);
        if (wanted.content != token.content) rewritten[token.id] = wanted.content;
        normalized.push_back(std::move(wanted));
      } else {
        plain.push_back(std::move(wanted));
      }
    }
    added_plain = AddedTokens(std::move(plain));
    added_normalized = AddedTokens(std::move(normalized));
    decodes_surfaces =
        model.vocabulary().byte_level && decoder.steps[0].kind == DecodeStep::Kind::byte_level;
  }

  void take_pieces(size_t size) {
    pieces.resize(size);
    special.resize(size);
    ids = PieceIndex(size);
    const auto& own = model.vocabulary().pieces;
    std::copy(own.begin(), own.end(), pieces.begin());
    for (const AddedToken& token : added) {
      const auto at = static_cast<size_t>(token.id);
      pieces[at] = token.content;
      special[at] = token.special;
    }
    for (size_t id = 0; id < size; ++id) {
      if (!pieces[id].empty()) ids.add(pieces[id], static_cast<int32_t>(id));
    }
  }

  size_t place_of(int32_t id) const {
    HEDDLE_CHECK(id >= 0 && static_cast<size_t>(id) < pieces.size(), "tokenizer: found id ", id,
                 "; expected 0 to ", pieces.size() - 1);
    return static_cast<size_t>(id);
  }

  /// The id of a token that a configuration names.
  int32_t named(const std::string& piece, std::string_view name, std::string_view key) const {
    if (piece.empty()) return -1;
    const int32_t id = ids.find(piece);
    HEDDLE_CHECK(id >= 0, "tokenizer: ", name, ": ", key, ": found ", io::quoted(piece),
                 ", which is no piece of the tokenizer; expected one (add it to added_tokens)");
    return id;
  }

  /// A text without added tokens in it. `starts_whole`: it is where the whole text begins.
  void encode_words(std::string_view text, bool starts_whole, EncodeScratch& scratch,
                    std::vector<int32_t>& out) const {
    SplitText& split = scratch.text;
    split.text = text;
    split.starts_whole = starts_whole;
    splitter.apply(split, scratch.split);
    for (const Span word : split.words) {
      model.encode(split.text.substr(word.begin, word.end - word.begin), out, scratch.model);
    }
  }

  void encode(std::string_view text, const BpeEncodeOptions& options,
              std::vector<int32_t>& out) const {
    EncodeScratch scratch;
    scratch.split = splitter.make_scratch();
    added_plain.find(text, options.allow_special, scratch.parts);
    for (const AddedTokens::Part& part : scratch.parts) {
      if (part.id >= 0) {
        out.push_back(part.id);
        continue;
      }
      const auto [begin, end] = part.range;
      const std::string_view normal =
          normalizer.apply(text.substr(begin, end - begin), scratch.normalized);
      added_normalized.find(normal, options.allow_special, scratch.inner);
      for (const AddedTokens::Part& inner : scratch.inner) {
        if (inner.id >= 0) {
          out.push_back(inner.id);
          continue;
        }
        const auto [from, to] = inner.range;
        const bool starts_whole = !options.continues && begin == 0 && from == 0;
        encode_words(normal.substr(from, to - from), starts_whole, scratch, out);
      }
    }
  }

  void decode(int32_t id, bool skip_special, BpeDecoder::Progress& progress,
              std::string& text) const {
    const size_t at = place_of(id);
    if (pieces[at].empty() || (skip_special && special[at] != 0)) return;
    if (const auto found = rewritten.find(id); found != rewritten.end()) {
      decoder.feed(found->second, progress, text);
    } else if (decodes_surfaces && at < static_cast<size_t>(model.size()) &&
               !model.surface(id).empty()) {  // else an added token between the model's own
      decoder.feed_bytes(model.surface(id), progress, text);
    } else {
      decoder.feed(pieces[at], progress, text);
    }
  }

  BpeModel model;
  BpeNormalizer normalizer;
  BpeSplitter splitter;
  BpeDecoder decoder;
  std::vector<int32_t> before, after;
  std::vector<AddedToken> added;
  AddedTokens added_plain, added_normalized;
  std::vector<std::string_view> pieces;  // by id, into model and added; empty: none
  std::vector<uint8_t> special;          // by id
  PieceIndex ids;
  std::unordered_map<int32_t, std::string> rewritten;  // added tokens as the reference decodes them
  bool decodes_surfaces = false;
  int32_t bos = -1, eos = -1, pad = -1;
};

BpeTokenizer::BpeTokenizer(std::unique_ptr<const State> state) : state_(std::move(state)) {}
BpeTokenizer::BpeTokenizer(BpeTokenizer&&) noexcept = default;
BpeTokenizer& BpeTokenizer::operator=(BpeTokenizer&&) noexcept = default;
BpeTokenizer::~BpeTokenizer() = default;

int32_t BpeTokenizer::size() const { return static_cast<int32_t>(state_->pieces.size()); }
int32_t BpeTokenizer::bos() const { return state_->bos; }
int32_t BpeTokenizer::eos() const { return state_->eos; }
int32_t BpeTokenizer::pad() const { return state_->pad; }
int32_t BpeTokenizer::unk() const { return state_->model.vocabulary().unk; }

std::vector<int32_t> BpeTokenizer::encode(std::string_view text,
                                          const BpeEncodeOptions& options) const {
  std::vector<int32_t> ids;
  encode(text, ids, options);
  return ids;
}

void BpeTokenizer::encode(std::string_view text, std::vector<int32_t>& ids,
                          const BpeEncodeOptions& options) const {
  HEDDLE_CHECK(text.size() <= kMaxTextBytes, "tokenizer: found a text of ", text.size(),
               " bytes; expected at most ", kMaxTextBytes);
  ids.clear();
  std::string repaired;
  if (!is_valid_utf8(text)) {
    append_repaired(repaired, text);
    text = repaired;
  }
  const State& state = *state_;
  if (options.add_special_tokens) ids = state.before;
  state.encode(text, options, ids);
  if (options.add_special_tokens) ids.insert(ids.end(), state.after.begin(), state.after.end());
}

std::string BpeTokenizer::decode(std::span<const int32_t> ids, bool skip_special) const {
  std::string text;
  text.reserve(ids.size() * 6);
  BpeDecoder::Progress progress = state_->decoder.begin();
  for (const int32_t id : ids) state_->decode(id, skip_special, progress, text);
  state_->decoder.finish(progress, text);
  return text;
}

std::string_view BpeTokenizer::piece(int32_t id) const {
  return state_->pieces[state_->place_of(id)];
}

int32_t BpeTokenizer::id_of(std::string_view piece) const { return state_->ids.find(piece); }

bool BpeTokenizer::is_special(int32_t id) const {
  return state_->special[state_->place_of(id)] != 0;
}

bool BpeTokenizer::begins_word(int32_t id) const {
  const size_t at = state_->place_of(id);
  const bool is_own = at < static_cast<size_t>(state_->model.size());
  const std::string_view text = is_own ? state_->model.surface(id) : state_->pieces[at];
  return text.starts_with(' ') || text.starts_with(kSpaceMark);
}

struct BpeStream::State {
  const BpeTokenizer::State* tokenizer;
  bool skip_special;
  BpeDecoder::Progress progress;
};

BpeStream::BpeStream(const BpeTokenizer& tokenizer, bool skip_special)
    : state_(std::make_unique<State>(
          State{tokenizer.state_.get(), skip_special, tokenizer.state_->decoder.begin()})) {}
BpeStream::BpeStream(BpeStream&&) noexcept = default;
BpeStream& BpeStream::operator=(BpeStream&&) noexcept = default;
BpeStream::~BpeStream() = default;

std::string BpeStream::push(int32_t id) {
  std::string text;
  state_->tokenizer->decode(id, state_->skip_special, state_->progress, text);
  return text;
}

std::string BpeStream::finish() {
  std::string text;
  state_->tokenizer->decoder.finish(state_->progress, text);
  return text;
}

BpeTokenizer make_bpe_tokenizer(std::string_view json, std::string_view name,
                                std::string_view config, std::string_view config_name) {
  auto state = std::make_unique<BpeTokenizer::State>(parse_tokenizer_json(json, name));
  if (!config.empty()) {
    const TokenizerConfig named = parse_tokenizer_config(config, config_name);
    state->bos = state->named(named.bos, config_name, "bos_token");
    state->eos = state->named(named.eos, config_name, "eos_token");
    state->pad = state->named(named.pad, config_name, "pad_token");
  }
  return BpeTokenizer(std::move(state));
}

BpeTokenizer load_bpe_tokenizer(const std::string& path) {
  const std::string file = io::is_directory(path) ? io::join_path(path, "tokenizer.json") : path;
  const std::string beside = io::join_path(io::folder_of(file), "tokenizer_config.json");
  const std::string json = io::read_text(file, kMaxTokenizerBytes);
  if (!io::exists(beside)) return make_bpe_tokenizer(json, file);
  return make_bpe_tokenizer(json, file, io::read_text(beside, kMaxTokenizerBytes), beside);
}

}  // namespace heddle::text
