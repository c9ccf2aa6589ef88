// Our own directory: config.json, model.safetensors, vocabularies.
#include <cstdint>
#include <map>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
#include "heddle/io/safetensors.h"
#include "heddle/io/source.h"
#include "heddle/model/config_language.h"
#include "heddle/model/formats/convert.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/formats/save.h"

namespace heddle::model {

namespace {

constexpr uint64_t kLongestPieces = uint64_t{64} << 20;
constexpr int64_t kMostPieces = 1'000'000;
constexpr size_t kLongestTree = size_t{256} << 20;

/// "model.shared.weight" → "model.shared.".
std::string stem_of(const std::string& name) {
  HEDDLE_CHECK(name.ends_with("weight"), "model: found a scale of ", io::quoted(name),
               "; expected scales of weights only");
  return name.substr(0, name.size() - 6);
}

std::map<std::string, Tensor> tensors_of(const ModelFiles& model) {
  std::map<std::string, Tensor> tensors;
  const bool less_one = stores_norms_less_one(model.config);
  for (const auto& [name, parameter] : model.parameters) {
    const bool norm = less_one && name.ends_with("norm.weight");
    tensors.emplace(name, norm ? shifted(parameter.values, -1) : parameter.values);
    if (parameter.scales.defined()) {
      tensors.emplace(stem_of(name) + "weight_scale", parameter.scales);
    }
    if (parameter.input_scale != 0) {
      Tensor scale = Tensor::empty({1}, DType::f32);
      *scale.data<float>() = parameter.input_scale;
      tensors.emplace(stem_of(name) + "input_scale", scale);
    }
  }
  return tensors;
}

bool is_object(std::string_view json) {
  const size_t start = json.find_first_not_of(" \t\r\n");
  return start != json.npos && json[start] == '{';
}

/// A list of pieces becomes the object that Hugging Face has; other files stay what they are.
void save_pieces(const std::string& from, const std::string& folder, const std::string& stem,
                 io::FileOperations& files) {
  if (!from.ends_with(".json") && !from.ends_with(".txt")) {
    io::copy_file(from, io::join_path(folder, stem + ".yml"), files);
    return;
  }
  const std::string to = io::join_path(folder, stem + ".json");
  const std::string text = io::read_text(from, kLongestPieces);
  if (from.ends_with(".json") && is_object(text)) {
    io::copy_file(from, to, files);
    return;
  }
  io::Value ids{io::Value::Map{}};
  int64_t id = 0;
  for (const std::string& piece : read_pieces(from)) ids.map()->push_back({piece, id++});
  io::write_file(to, io::to_json(ids, 2) + "\n", files);
}

}  // namespace

void save_vocabularies(const ModelFiles& model, const std::string& directory,
                       io::FileOperations& files) {
  if (!model.source_vocabulary.empty()) {
    io::copy_file(model.source_vocabulary, io::join_path(directory, "source.spm"), files);
  }
  if (!model.target_vocabulary.empty() && model.target_vocabulary != model.source_vocabulary) {
    io::copy_file(model.target_vocabulary, io::join_path(directory, "target.spm"), files);
  }
}

std::string numbering_yaml(const std::string& from) {
  const std::string text = io::read_text(from, kLongestPieces);
  if (!from.ends_with(".json") && !from.ends_with(".txt")) return text;
  std::string yaml;
  const auto add = [&](const std::string& piece, int64_t id) {
    yaml += str(io::to_json(io::Value(piece)), ": ", id, "\n");
  };
  if (from.ends_with(".json") && is_object(text)) {
    const io::Value value = io::parse_json(text, from, {.memory = kLongestTree});
    const io::Field ids(value, str("vocabulary: ", from));
    for (const auto& [piece, id] : ids.members()) {
      add(piece, io::Field(id, str("vocabulary: ", from, ": ", io::quoted(piece)))
                     .integer(0, kMostPieces));
    }
  } else {
    int64_t id = 0;
    for (const std::string& piece : read_pieces(from)) add(piece, id++);
  }
  return yaml;
}

void save_model(const ModelFiles& model, const std::string& directory, io::FileOperations& files) {
  model.config.check();
  check_parameters(model.config, model.parameters);
  io::make_folder(directory);
  const auto path = [&](const char* name) { return io::join_path(directory, name); };
  const io::Value config = to_json(model.config);  // before anything is written: it may refuse
  // Transformers reads files alone that call themselves PyTorch's.
  const std::string format = model.config.is_language_model() ? "pt" : "heddle";
  io::write_safetensors(path("model.safetensors"), tensors_of(model), {{"format", format}}, files);
  for (const std::string& each : model.companions) {
    io::copy_file(each, io::join_path(directory, io::file_name(each)), files);
  }
  save_vocabularies(model, directory, files);
  const bool one_list = model.source_pieces == model.target_pieces;
  if (!model.source_pieces.empty()) {
    save_pieces(model.source_pieces, directory, one_list ? "vocab" : "source_vocab", files);
  }
  if (!model.target_pieces.empty() && !one_list) {
    save_pieces(model.target_pieces, directory, "target_vocab", files);
  }
  if (!model.shortlist.empty()) io::copy_file(model.shortlist, path("shortlist.bin"), files);
  io::write_file(path("config.json"), io::to_json(config, 2) + "\n", files);
}

}  // namespace heddle::model
