// What lies beside a Marian model: config*.yml, vocabularies, shortlist.
#pragma once

#include <string>
#include <string_view>

namespace heddle::model {

/// The files of one model. Empty: not there.
struct MarianFolder {
  std::string model;
  std::string source_vocabulary;
  std::string target_vocabulary;
  std::string source_pieces;  ///< of a .yml vocabulary, which numbers the pieces
  std::string target_pieces;
  std::string shortlist;
};

/// Whether a YAML file lists models, as those of Bergamot and Marian's decoder do.
bool is_marian_config(const std::string& path);

/// The files that such a YAML file names.
MarianFolder read_marian_config(const std::string& path);

/// The files of a directory: what its one config says, or its one model and the vocabularies
/// beside it. `model` is empty when the directory has no Marian model.
MarianFolder find_marian_files(const std::string& directory);

/// The files of a model given by itself.
MarianFolder find_files_beside(const std::string& model);

}  // namespace heddle::model
