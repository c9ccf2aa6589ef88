// The model and the post-processor of a tokenizer.json.
#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"
#include "heddle/text/tokenizer_json_internal.h"

namespace heddle::text {

namespace {

constexpr size_t kMaxSpecialIds = 1024;  // around a text

/// Pieces by id. `most`: no id may be as large.
std::vector<std::string> read_pieces(const io::Field& field, size_t most) {
  const io::Value::Map& members = field.members();
  if (members.empty() || members.size() > kMaxBpePieces) {
    field.fail(str("1 to ", kMaxBpePieces, " pieces"));
  }
  int64_t last = 0;
  for (const io::Value::Member& member : members) {
    const int64_t* id = member.value.integer();
    if (id == nullptr || *id < 0 || static_cast<uint64_t>(*id) >= most) {
      io::Field(member.value, str(field.place(), ": ", io::quoted(member.key)))
          .fail(str("an id from 0 to ", most - 1));
    }
    last = std::max(last, *id);
  }
  std::vector<std::string> pieces(static_cast<size_t>(last) + 1);
  for (const io::Value::Member& member : members) {
    const int64_t id = *member.value.integer();
    std::string& piece = pieces[static_cast<size_t>(id)];
    HEDDLE_CHECK(piece.empty(), "tokenizer: ", field.place(), ": found id ", id, " for ",
                 io::quoted(piece), " and for ", io::quoted(member.key), "; expected it once");
    HEDDLE_CHECK(!member.key.empty() && member.key.size() <= kMaxBpePieceBytes,
                 "tokenizer: ", field.place(), ": found a piece of ", member.key.size(),
                 " bytes with id ", id, "; expected 1 to ", kMaxBpePieceBytes);
    piece = member.key;
  }
  return pieces;
}

class MergeReader {
 public:
  MergeReader(const std::vector<std::string>& pieces, std::string_view place)
      : ids_(pieces.size()), place_(place) {
    for (size_t id = 0; id < pieces.size(); ++id) {
      if (!pieces[id].empty()) ids_.add(pieces[id], static_cast<int32_t>(id));
    }
  }

  int32_t id_of(std::string_view piece) const { return ids_.find(piece); }

  /// "a b", or a list of the two.
  std::optional<BpeVocabulary::Merge> read(const io::Value& value, size_t rank) {
    if (const std::string* text = value.text()) {
      if (text->starts_with("#version")) return std::nullopt;  // as in the merges.txt of old
      const size_t space = text->find(' ');
      if (space != text->npos && text->find(' ', space + 1) == text->npos) {
        const std::string_view both = *text;
        return merge_of(both.substr(0, space), both.substr(space + 1), rank);
      }
    } else if (const io::Value::List* pair = value.list()) {
      if (pair->size() == 2 && (*pair)[0].text() != nullptr && (*pair)[1].text() != nullptr) {
        return merge_of(*(*pair)[0].text(), *(*pair)[1].text(), rank);
      }
    }
    io::Field(value, str(place_, "[", rank, "]"))
        .fail("two pieces: a text with one space, or a list of two texts");
  }

 private:
  BpeVocabulary::Merge merge_of(std::string_view left, std::string_view right, size_t rank) {
    joined_.assign(left);
    joined_ += right;
    return {find(left, rank), find(right, rank), find(joined_, rank)};
  }

  int32_t find(std::string_view piece, size_t rank) const {
    const int32_t id = ids_.find(piece);
    HEDDLE_CHECK(id >= 0, "tokenizer: ", place_, "[", rank, "]: found the piece ",
                 io::quoted(piece), ", which is not in the vocabulary; expected both pieces and ",
                 "what they make together there");
    return id;
  }

  PieceIndex ids_;
  std::string_view place_;
  std::string joined_;
};

void check_empty(const io::Field& model, std::string_view key) {
  const std::string text = model.text_or(key, "");
  HEDDLE_CHECK(text.empty(), "tokenizer: ", model.place(), ": ", key, ": found ", io::quoted(text),
               "; expected none: vocabularies whose pieces are marked so are not read");
}

struct Around {
  std::vector<int32_t> before, after;
};

/// The ids of a special token of a TemplateProcessing.
void add_special(const io::Field& special, const io::Field& tokens, int32_t size,
                 std::vector<int32_t>& ids) {
  const io::Field name = special["id"];
  const auto found = tokens.find(name.text());
  if (!found) name.fail("one of special_tokens");
  for (const io::Field& id : (*found)["ids"].items()) {
    ids.push_back(static_cast<int32_t>(id.integer(0, size - 1)));
    if (ids.size() > kMaxSpecialIds) special.fail(str("at most ", kMaxSpecialIds, " ids"));
  }
}

Around read_template(const io::Field& part, int32_t size) {
  check_members(part, {"single", "pair", "special_tokens"});
  Around around;
  bool has_text = false;
  for (const io::Field& item : part["single"].items()) {
    if (const auto special = item.find("SpecialToken")) {
      add_special(*special, part["special_tokens"], size, has_text ? around.after : around.before);
    } else {
      const io::Field name = item["Sequence"]["id"];
      if (name.text() != "A" || has_text) name.fail("the text A, once");
      has_text = true;
    }
  }
  if (!has_text) part["single"].fail("the text A among them");
  return around;
}

/// ["<s>", 0] of RobertaProcessing and BertProcessing.
int32_t numbered_token(const io::Field& field, int32_t size) {
  const auto items = field.items();
  if (items.size() != 2) field.fail("a text and an id");
  return static_cast<int32_t>(items[1].integer(0, size - 1));
}

}  // namespace

BpeVocabulary read_model(const io::Field& part, size_t added_tokens) {
  const std::string type = part.text_or("type", "BPE");
  if (type != "BPE") refuse_type(part, "BPE");
  check_members(part, {"dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix",
                       "fuse_unk", "byte_fallback", "ignore_merges", "vocab", "merges"});
  HEDDLE_CHECK(part.number_or("dropout", 0) == 0, "tokenizer: ", part.place(),
               ": dropout: found one; expected none, or 0: it is for training");
  check_empty(part, "continuing_subword_prefix");
  check_empty(part, "end_of_word_suffix");
  BpeVocabulary vocabulary;
  vocabulary.fuse_unk = part.boolean_or("fuse_unk", false);
  vocabulary.byte_fallback = part.boolean_or("byte_fallback", false);
  vocabulary.ignore_merges = part.boolean_or("ignore_merges", false);
  const io::Field pieces = part["vocab"];
  const size_t most = 2 * (pieces.members().size() + added_tokens) + 1024;
  vocabulary.pieces = read_pieces(pieces, std::min(most, 2 * kMaxBpePieces));
  const io::Field merges = part["merges"];
  const io::Value::List* list = merges.value().list();
  if (list == nullptr || list->size() > kMaxBpeMerges) {
    merges.fail(str("a list of at most ", kMaxBpeMerges, " merges"));
  }
  MergeReader reader(vocabulary.pieces, merges.place());
  vocabulary.merges.reserve(list->size());
  for (size_t rank = 0; rank < list->size(); ++rank) {
    if (const auto merge = reader.read((*list)[rank], rank)) vocabulary.merges.push_back(*merge);
  }
  if (const std::string unk = part.text_or("unk_token", ""); !unk.empty()) {
    vocabulary.unk = reader.id_of(unk);
    if (vocabulary.unk < 0) part["unk_token"].fail("a piece of the vocabulary");
  }
  return vocabulary;
}

void read_post_processor(const io::Field& part, TokenizerJson& file) {
  for (const io::Field& field : flatten(part, "processors")) {
    const std::string& type = field["type"].text();
    Around around;
    if (type == "ByteLevel") {
      check_members(field, {"add_prefix_space", "trim_offsets", "use_regex"});
    } else if (type == "TemplateProcessing") {
      around = read_template(field, file.size);
    } else if (type == "RobertaProcessing" || type == "BertProcessing") {
      check_members(field, {"sep", "cls", "trim_offsets", "add_prefix_space"});
      around.before.push_back(numbered_token(field["cls"], file.size));
      around.after.push_back(numbered_token(field["sep"], file.size));
    } else {
      refuse_type(field,
                  "TemplateProcessing, ByteLevel, RobertaProcessing, BertProcessing or Sequence");
    }
    file.before.insert(file.before.begin(), around.before.begin(), around.before.end());
    file.after.insert(file.after.end(), around.after.begin(), around.after.end());
  }
}

}  // namespace heddle::text
