// The vocabularies and special tokens beside a CTranslate2 model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "heddle/io/value.h"
#include "heddle/model/config.h"

namespace heddle::model {

/// The pieces of one side in the order of their ids, and the file that lists them.
struct PieceList {
  std::string path;
  std::vector<std::string> pieces;
};

/// shared_vocabulary.json, or that of the side ("source", "target"); .txt as well.
PieceList read_piece_list(const std::string& directory, const std::string& side);

/// Throws unless there is one piece for each row of the embeddings.
void check_piece_count(const PieceList& list, int64_t rows);

/// eos, unk and decoder_start (unless the decoder starts `from_zero`) by the target's pieces, and
/// whether sources end with eos.
void read_special_tokens(const io::Field& config, const PieceList& target, bool from_zero,
                         TransformerConfig& out);

}  // namespace heddle::model
