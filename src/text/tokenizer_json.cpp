#include "heddle/text/tokenizer_json.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/io/quoted.h"
#include "heddle/text/tokenizer_json_internal.h"

namespace heddle::text {

namespace {

/// The members of the file, each until it is read.
struct Parts {
  static constexpr std::string_view kNames[] = {"version",        "truncation", "padding",
                                                "added_tokens",   "normalizer", "pre_tokenizer",
                                                "post_processor", "decoder",    "model"};
  io::Value values[std::size(kNames)];
  bool given[std::size(kNames)] = {};

  void take(const std::string& key, io::Value value, std::string_view name) {
    const auto* const found = std::find(std::begin(kNames), std::end(kNames), key);
    HEDDLE_CHECK(found != std::end(kNames), "tokenizer: ", name, ": found the member ",
                 io::quoted(key), "; expected those of a tokenizer.json");
    const auto at = static_cast<size_t>(found - std::begin(kNames));
    HEDDLE_CHECK(!given[at], "tokenizer: ", name, ": found ", key, " twice; expected it once");
    given[at] = true;
    values[at] = std::move(value);
  }

  io::Field field(std::string_view key, std::string_view name) const {
    const auto* const found = std::find(std::begin(kNames), std::end(kNames), key);
    return {values[found - std::begin(kNames)], str(name, ": ", key)};
  }
};

void flatten_into(const io::Field& part, std::string_view list, std::vector<io::Field>& parts) {
  if (part["type"].text() != "Sequence") {
    if (parts.size() == kMaxTokenizerSteps) {
      part.fail(str("at most ", kMaxTokenizerSteps, " steps"));
    }
    parts.push_back(part);
    return;
  }
  check_members(part, {list});
  for (const io::Field& inner : part[list].items()) flatten_into(inner, list, parts);
}

AddedToken read_added(const io::Field& field) {
  check_members(field,
                {"id", "content", "single_word", "lstrip", "rstrip", "normalized", "special"});
  AddedToken token;
  token.id = static_cast<int32_t>(field["id"].integer(0, INT32_MAX));
  token.content = field["content"].text();
  if (token.content.empty() || token.content.size() > kMaxAddedBytes) {
    field["content"].fail(str("a text of 1 to ", kMaxAddedBytes, " bytes"));
  }
  token.special = field.boolean_or("special", false);
  token.single_word = field.boolean_or("single_word", false);
  token.lstrip = field.boolean_or("lstrip", false);
  token.rstrip = field.boolean_or("rstrip", false);
  token.normalized = field.boolean_or("normalized", !token.special);
  return token;
}

std::vector<AddedToken> read_all_added(const io::Field& part) {
  std::vector<AddedToken> tokens;
  if (part.value().is_null()) return tokens;
  const auto items = part.items();
  if (items.size() > kMaxAddedTokens) part.fail(str("at most ", kMaxAddedTokens, " tokens"));
  for (const io::Field& item : items) tokens.push_back(read_added(item));
  return tokens;
}

/// Every added token has an id and a text of its own, or both of them with a piece of the model.
void check_added(const TokenizerJson& file, std::string_view name) {
  const std::vector<std::string>& pieces = file.vocabulary.pieces;
  PieceIndex ids(pieces.size() + file.added.size());
  std::vector<char> used(static_cast<size_t>(file.size));
  for (size_t id = 0; id < pieces.size(); ++id) {
    if (!pieces[id].empty()) ids.add(pieces[id], static_cast<int32_t>(id));
  }
  for (const AddedToken& token : file.added) {
    const auto at = static_cast<size_t>(token.id);
    const int32_t known = ids.add(token.content, token.id);
    const bool is_free = at >= pieces.size() || pieces[at].empty();
    HEDDLE_CHECK(used[at] == 0 && (known < 0 || known == token.id) && (known >= 0 || is_free),
                 "tokenizer: ", name, ": added_tokens: found ", io::quoted(token.content),
                 " with id ", token.id, ", but the text or the id is that of another piece; ",
                 "expected both to be its own");
    used[at] = 1;
  }
}

}  // namespace

void check_members(const io::Field& object, std::initializer_list<std::string_view> known) {
  for (const io::Value::Member& member : object.members()) {
    const bool expected =
        member.key == "type" || std::find(known.begin(), known.end(), member.key) != known.end();
    HEDDLE_CHECK(expected, "tokenizer: ", object.place(), ": found the member ",
                 io::quoted(member.key), ", which this version does not know; expected it not to ",
                 "be there");
  }
}

void refuse_type(const io::Field& part, std::string_view expected) {
  detail::throw_error(str("tokenizer: ", part.place(), ": found the type ",
                          io::quoted(part["type"].text()), "; expected ", expected));
}

std::vector<io::Field> flatten(const io::Field& part, std::string_view list) {
  std::vector<io::Field> parts;
  if (!part.value().is_null()) flatten_into(part, list, parts);
  return parts;
}

TokenizerJson parse_tokenizer_json(std::string_view text, std::string_view name) {
  HEDDLE_CHECK(text.size() <= kMaxTokenizerBytes, "tokenizer: ", name, ": found ", text.size(),
               " bytes; expected at most ", kMaxTokenizerBytes);
  Parts parts;
  // The trees of real files take up to 22 times their size, when they have no spaces.
  const size_t memory = (size_t{48} << 20) + std::min(text.size() * 24, size_t{768} << 20);
  io::parse_json_members(
      text, name,
      [&](const std::string& key, io::Value value) { parts.take(key, std::move(value), name); },
      {.memory = memory});
  TokenizerJson file;
  file.added = read_all_added(parts.field("added_tokens", name));
  file.vocabulary = read_model(parts.field("model", name), file.added.size());
  file.size = static_cast<int32_t>(file.vocabulary.pieces.size());
  const size_t most = 2 * (file.vocabulary.pieces.size() + file.added.size()) + 1024;
  for (const AddedToken& token : file.added) {
    HEDDLE_CHECK(static_cast<size_t>(token.id) < most, "tokenizer: ", name,
                 ": added_tokens: found id ", token.id, "; expected less than ", most);
    file.size = std::max(file.size, token.id + 1);
  }
  check_added(file, name);
  file.normalizer = read_normalizer(parts.field("normalizer", name));
  file.splitter = read_splitter(parts.field("pre_tokenizer", name));
  if (auto& steps = file.splitter.steps;
      !steps.empty() && steps.back().kind == SplitStep::Kind::byte_chars) {
    steps.pop_back();  // the model takes the bytes themselves
    file.vocabulary.byte_level = true;
  }
  file.decoder = read_decoder(parts.field("decoder", name));
  if (file.decoder.steps.empty()) {
    file.decoder.steps.emplace_back().kind = DecodeStep::Kind::space_between;
  }
  read_post_processor(parts.field("post_processor", name), file);
  return file;
}

TokenizerConfig parse_tokenizer_config(std::string_view text, std::string_view name) {
  HEDDLE_CHECK(text.size() <= kMaxTokenizerBytes, "tokenizer: ", name, ": found ", text.size(),
               " bytes; expected at most ", kMaxTokenizerBytes);
  TokenizerConfig config;
  const auto take = [&](const std::string& key, const io::Value& value) {
    std::string* target = key == "bos_token"   ? &config.bos
                          : key == "eos_token" ? &config.eos
                          : key == "pad_token" ? &config.pad
                                               : nullptr;
    if (target == nullptr || value.is_null()) return;
    const io::Field field(value, str(name, ": ", key));
    *target = value.map() != nullptr ? field["content"].text() : field.text();
  };
  io::parse_json_members(text, name, take);
  return config;
}

}  // namespace heddle::text
