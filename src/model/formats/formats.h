// Reads models of any known format into canonical names, and writes them.
//
// Read: Marian (.bin of float32 and intgemm8, .npz) with the config*.yml and vocabularies beside
// it, CTranslate2 (model.bin), Hugging Face's MarianMT and language models (config.json,
// model.safetensors), our own directory, which has the same files, and language models in GGUF
// files. What a path holds is told from its content, not its name.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "heddle/io/file_operations.h"
#include "heddle/model/parameters.h"

namespace heddle::model {

/// The model in a directory or file. Every byte is checked; throws an Error that names file, field,
/// what was found and what was expected.
ModelFiles load_model(const std::string& path);

/// Writes our directory: config.json, model.safetensors and copies of vocabularies and shortlist;
/// of a language model that of its family, which Hugging Face reads, with copies of its companions.
/// load_model gives back the same model to the bit. Each file is replaced as a whole; config.json
/// comes last, so that an interrupted save is not taken for a model.
void save_model(const ModelFiles& model, const std::string& directory,
                io::FileOperations& files = io::system_files());

/// The pieces of both vocabularies in the order of their ids, for formats that list them.
struct Pieces {
  std::vector<std::string> source;
  std::vector<std::string> target;
};

/// Writes model.bin, config.json, the lists of pieces and copies of the SentencePiece files, as
/// CTranslate2 reads them. Throws for what it cannot express (SSRU decoders, rotary positions, …).
/// Fixed steps of quantised inputs are left out: CTranslate2 measures its inputs.
void save_ctranslate2(const ModelFiles& model, const std::string& directory, const Pieces& pieces);

/// Writes model.npz (float32, its options inside), decoder.yml and copies of the vocabularies, as
/// Marian reads them. Throws for what Marian has no options for.
void save_marian(const ModelFiles& model, const std::string& directory);

/// The same model with every matrix in another type: i8 (a scale a row, largest |w| / 127), f16,
/// bf16 or f32. Vectors and matrices that are of the type already stay as they are; what is i8
/// stays i8.
ModelFiles quantised(ModelFiles model, DType type);

enum class Format { marian_binary, marian_npz, ctranslate2, huggingface, heddle, gguf };

/// "Marian binary", "CTranslate2", …
std::string_view name_of(Format format);

/// What the path holds; throws for what is not a model, with what it is when that is known.
Format recognise(const std::string& path);

}  // namespace heddle::model
