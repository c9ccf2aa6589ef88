// What the writers of several formats share.
#pragma once

#include <string>
#include <vector>

#include "heddle/io/file_operations.h"
#include "heddle/model/parameters.h"

namespace heddle::model {

/// Copies of the SentencePiece files as source.spm and, when it is another, target.spm.
void save_vocabularies(const ModelFiles& model, const std::string& directory,
                       io::FileOperations& files = io::system_files());

/// The YAML of Marian that numbers the pieces as the file `from` does, whichever of the three kinds
/// it is.
std::string numbering_yaml(const std::string& from);

/// The pieces in the order of their ids: of a .json list or a .txt file with one a line.
std::vector<std::string> read_pieces(const std::string& path);

}  // namespace heddle::model
