#include "heddle/model/formats/ctranslate2_tokens.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
#include "heddle/io/source.h"
#include "heddle/model/formats/save.h"

namespace heddle::model {

namespace {

constexpr uint64_t kLongest = uint64_t{64} << 20;

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

int32_t token(const io::Field& config, const PieceList& list, const char* key,
              const char* otherwise) {
  const std::string piece = config.text_or(key, otherwise);
  const auto found = std::find(list.pieces.begin(), list.pieces.end(), piece);
  HEDDLE_CHECK(found != list.pieces.end(), config.place(), ": ", key, ": found ", io::quoted(piece),
               "; expected a piece of ", list.path);
  return static_cast<int32_t>(found - list.pieces.begin());
}

}  // namespace

std::vector<std::string> read_pieces(const std::string& path) {
  const std::string text = io::read_text(path, kLongest);
  if (!path.ends_with(".json")) return lines_of(text);
  const io::Value value = io::parse_json(text, path);
  std::vector<std::string> pieces;
  for (const io::Field& item : io::Field(value, str("ctranslate2: ", path)).items()) {
    pieces.push_back(item.text());
  }
  return pieces;
}

PieceList read_piece_list(const std::string& directory, const std::string& side) {
  for (const std::string& name : {std::string("shared"), side}) {
    for (const char* ending : {"_vocabulary.json", "_vocabulary.txt"}) {
      std::string path = io::join_path(directory, name + ending);
      if (io::exists(path)) return {path, read_pieces(path)};
    }
  }
  detail::throw_error(str("ctranslate2: ", directory, ": found no vocabulary; expected ",
                          "shared_vocabulary.json or ", side, "_vocabulary.json"));
}

void check_piece_count(const PieceList& list, int64_t rows) {
  HEDDLE_CHECK(static_cast<int64_t>(list.pieces.size()) == rows, "ctranslate2: ", list.path,
               ": found ", list.pieces.size(), " pieces; expected ", rows,
               " as the embeddings have rows");
}

void read_special_tokens(const io::Field& config, const PieceList& target, bool from_zero,
                         TransformerConfig& out) {
  out.eos = token(config, target, "eos_token", "</s>");
  out.unk = token(config, target, "unk_token", "<unk>");
  out.pad = -1;
  out.decoder_start = -1;
  out.ends_source = true;
  HEDDLE_CHECK(!config.boolean_or("add_source_bos", false), config.place(),
               ": add_source_bos: found true; expected false: sources begin with text here");
  if (from_zero) return;
  const io::Value* start = config.value().find("decoder_start_token");
  HEDDLE_CHECK(start == nullptr || !start->is_null(), config.place(), ": decoder_start_token: ",
               "found null; expected a piece: models that the caller starts are not read");
  out.decoder_start = token(config, target, "decoder_start_token", "<s>");
  // The engine adds eos by add_source_eos, or else whoever cuts the text does, as the models of
  // fairseq and Hugging Face expect. OpenNMT's, which alone start with <s>, have sources without.
  out.ends_source =
      config.boolean_or("add_source_eos", false) ||
      config.text_or("decoder_start_token", "<s>") != config.text_or("bos_token", "<s>");
}

}  // namespace heddle::model
