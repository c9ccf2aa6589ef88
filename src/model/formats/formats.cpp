#include "heddle/model/formats/formats.h"

#include <cstdint>
#include <cstring>

#include "heddle/base/error.h"
#include "heddle/io/gguf.h"
#include "heddle/io/marian_binary.h"
#include "heddle/io/npz.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
#include "heddle/io/source.h"
#include "heddle/model/formats/loaders.h"
#include "heddle/model/formats/marian.h"
#include "heddle/model/formats/marian_folder.h"

namespace heddle::model {

namespace {

constexpr uint64_t kLongestConfig = uint64_t{4} << 20;

/// What a path holds, and the file or folder that its loader takes.
struct Found {
  Format format;
  std::string path;
};

/// Files that somebody may well offer and that are not read, by their first bytes.
std::string_view known_stranger(std::string_view start) {
  if (start.starts_with("\x80\x02") || start.starts_with("\x80\x04")) return "a Python pickle";
  if (start.starts_with("\x89HDF")) return "an HDF5 file";
  if (start.starts_with("\x1f\x8b")) return "a gzip archive";
  if (start.starts_with("\x28\xb5\x2f\xfd")) return "a zstd archive";
  if (start.starts_with("\x08\x0a\x12") || start.starts_with("\n\x0e\n")) return "a protobuf";
  return "a file of no known format";
}

bool is_safetensors(const io::Source& source) {
  if (source.size() < 9) return false;
  char start[9];
  source.read(start, sizeof start, 0);
  uint64_t header = 0;
  std::memcpy(&header, start, sizeof header);
  return start[8] == '{' && header <= source.size() - 8;
}

/// Hugging Face's directories and ours have the same files; config.json tells which it is.
Found safetensors_folder(const std::string& path) {
  const std::string config = io::join_path(path, "config.json");
  const bool foreign =
      io::exists(config) &&
      io::read_text(config, kLongestConfig).find("\"heddle\"") == std::string::npos;
  return {foreign ? Format::huggingface : Format::heddle, path};
}

Found recognise_file(const std::string& path) {
  const io::Source source(path);
  char bytes[16] = {};
  const size_t count = source.size() < sizeof bytes ? static_cast<size_t>(source.size()) : 16;
  source.read(bytes, count, 0);
  const std::string_view start(bytes, count);
  if (io::NpzFile::recognises(source)) return {Format::marian_npz, path};
  if (io::MarianBinary::recognises(source)) return {Format::marian_binary, path};
  if (is_ctranslate2(source)) return {Format::ctranslate2, io::folder_of(path)};
  if (io::GgufFile::recognises(source)) return {Format::gguf, path};
  if (is_safetensors(source) || start.starts_with('{')) {
    return safetensors_folder(io::folder_of(path));
  }
  HEDDLE_CHECK(!is_marian_config(path), "model: ", path, ": found a list of models");
  detail::throw_error(
      str("model: ", path, ": found ", known_stranger(start), " (", source.size(),
          " bytes); expected a model: Marian's .bin or .npz, CTranslate2's "
          "model.bin, a GGUF file, or a directory with config.json and model.safetensors"));
}

Found recognise_folder(const std::string& path) {
  const auto has = [&](const char* name) { return io::exists(io::join_path(path, name)); };
  if (has("model.safetensors") || has("model.safetensors.index.json")) {
    return safetensors_folder(path);
  }
  if (has("model.bin")) {
    const io::Source source(io::join_path(path, "model.bin"));
    if (is_ctranslate2(source)) return {Format::ctranslate2, path};
  }
  const MarianFolder files = find_marian_files(path);
  if (!files.model.empty()) return {recognise_file(files.model).format, path};
  HEDDLE_CHECK(!has("pytorch_model.bin"), "model: ", path,
               ": found pytorch_model.bin, a Python pickle; expected model.safetensors. Hint: "
               "save it again with save_pretrained(…, safe_serialization=True)");
  detail::throw_error(str("model: ", path,
                          ": found no model; expected model.safetensors with config.json, a "
                          "CTranslate2 model.bin, or a Marian model.*.bin or .npz"));
}

Found find(const std::string& path) {
  if (io::is_directory(path)) return recognise_folder(path);
  HEDDLE_CHECK(io::exists(path), "model: ", path, ": found nothing; expected a file or directory");
  if (is_marian_config(path)) {
    return {recognise_file(read_marian_config(path).model).format, path};
  }
  return recognise_file(path);
}

MarianFolder marian_files(const std::string& path) {
  if (io::is_directory(path)) return find_marian_files(path);
  return is_marian_config(path) ? read_marian_config(path) : find_files_beside(path);
}

ModelFiles load_marian(const std::string& path) {
  const MarianFolder files = marian_files(path);
  ModelFiles model = load_marian_file(files.model);
  model.source_vocabulary = files.source_vocabulary;
  model.target_vocabulary = files.target_vocabulary;
  model.source_pieces = files.source_pieces;
  model.target_pieces = files.target_pieces;
  model.shortlist = files.shortlist;
  return model;
}

/// A file that a config names is there.
void check_named_file(const std::string& path, std::string_view what) {
  HEDDLE_CHECK(path.empty() || (io::exists(path) && !io::is_directory(path)), "model: ", path,
               ": found no file; expected the ", what, " that the model's config names");
}

/// No loader lets through an element type that the engine has no arithmetic for.
void check_types(const Parameters& parameters, const std::string& path) {
  for (const auto& [name, parameter] : parameters) {
    const DType dtype = parameter.values.dtype();
    const bool floats = dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16;
    HEDDLE_CHECK(floats || (dtype == DType::i8 && parameter.scales.defined()), "model: ", path,
                 ": ", name, ": found ", name_of(dtype),
                 parameter.scales.defined() ? " with scales" : "",
                 "; expected f32, f16, bf16 or i8 with scales");
  }
}

}  // namespace

std::string_view name_of(Format format) {
  switch (format) {
    case Format::marian_binary:
      return "Marian binary";
    case Format::marian_npz:
      return "Marian npz";
    case Format::ctranslate2:
      return "CTranslate2";
    case Format::huggingface:
      return "Hugging Face";
    case Format::heddle:
      return "Heddle";
    case Format::gguf:
      return "GGUF";
  }
  return "unknown";
}

Format recognise(const std::string& path) { return find(path).format; }

ModelFiles load_model(const std::string& path) {
  const Found found = find(path);
  ModelFiles model;
  switch (found.format) {
    case Format::marian_binary:
    case Format::marian_npz:
      model = load_marian(path);
      break;
    case Format::ctranslate2:
      model = load_ctranslate2(found.path);
      break;
    case Format::huggingface:
    case Format::heddle:
      model = load_safetensors_folder(found.path);
      break;
    case Format::gguf:
      model = load_gguf(found.path);
      break;
  }
  model.config.check();
  check_types(model.parameters, path);
  check_parameters(model.config, model.parameters);
  check_named_file(model.source_vocabulary, "source vocabulary");
  check_named_file(model.target_vocabulary, "target vocabulary");
  check_named_file(model.source_pieces, "source vocabulary");
  check_named_file(model.target_pieces, "target vocabulary");
  check_named_file(model.shortlist, "shortlist");
  return model;
}

}  // namespace heddle::model
