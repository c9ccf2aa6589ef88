#include "heddle/model/formats/marian_folder.h"

#include <algorithm>
#include <string>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/io/marian_binary.h"
#include "heddle/io/npz.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
#include "heddle/io/source.h"
#include "heddle/io/yaml.h"

namespace heddle::model {

namespace {

using Names = std::vector<std::string>;

/// A path of a config: relative to its folder. Absolute ones only where the file does not claim
/// `relative-paths`.
std::string resolve(const io::Field& name, const std::string& folder, bool relative) {
  const std::string& text = name.text();
  if (relative ? !io::stays_below(text) : text.empty() || text.find('\0') != text.npos) {
    name.fail("a path below the folder of the file");
  }
  return io::join_path(folder, text);
}

/// A key that holds one path or a list that starts with paths.
std::vector<io::Field> items_of(const io::Field& field) {
  return field.value().text() != nullptr ? std::vector{field} : field.items();
}

/// Readable YAML that is small enough to be a config (vocabularies are YAML too).
bool may_be_config(const std::string& name) {
  return name.ends_with(".yml") || name.ends_with(".yaml");
}

Names configs_of(const std::string& folder, const Names& names) {
  Names configs;
  for (const std::string& name : names) {
    if (may_be_config(name) && is_marian_config(io::join_path(folder, name)))
      configs.push_back(name);
  }
  return configs;
}

bool looks_like_model(const std::string& path) {
  if (io::is_directory(path)) return false;
  const io::Source source(path);
  return io::MarianBinary::recognises(source) || io::NpzFile::recognises(source);
}

Names models_of(const std::string& folder, const Names& names) {
  Names models;
  for (const std::string& name : names) {
    const bool optimizer = name.ends_with(".optimizer.npz");
    const bool candidate = name.ends_with(".bin") || name.ends_with(".npz");
    if (candidate && !optimizer && looks_like_model(io::join_path(folder, name))) {
      models.push_back(name);
    }
  }
  return models;
}

std::string joined(const Names& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + io::quoted(name);
  return text;
}

/// A .yml only numbers the pieces, as OPUS models have it: the file beside it cuts the text.
void set_vocabulary(const std::string& named, const char* beside, std::string& model,
                    std::string& pieces) {
  if (!may_be_config(named)) {
    model = named;
    return;
  }
  pieces = named;
  const std::string file = io::join_path(io::folder_of(named), beside);
  if (io::exists(file)) model = file;
}

bool starts_with_one_of(const std::string& name, std::initializer_list<std::string_view> starts) {
  return std::any_of(starts.begin(), starts.end(),
                     [&](std::string_view start) { return name.starts_with(start); });
}

/// One SentencePiece file serves both sides; of two, the names tell which is which.
void guess_vocabularies(const std::string& folder, const Names& names, MarianFolder& files) {
  Names vocabularies;
  std::copy_if(names.begin(), names.end(), std::back_inserter(vocabularies),
               [](const std::string& name) { return name.ends_with(".spm"); });
  if (vocabularies.size() == 1) {
    files.source_vocabulary = files.target_vocabulary = io::join_path(folder, vocabularies[0]);
    return;
  }
  for (const std::string& name : vocabularies) {
    if (starts_with_one_of(name, {"src", "source"})) {
      files.source_vocabulary = io::join_path(folder, name);
    } else if (starts_with_one_of(name, {"trg", "tgt", "target"})) {
      files.target_vocabulary = io::join_path(folder, name);
    }
  }
}

}  // namespace

bool is_marian_config(const std::string& path) {
  if (io::is_directory(path)) return false;
  const io::Source source(path);
  if (source.size() > io::kLongestYaml) return false;
  const std::string text = source.text(io::kLongestYaml);
  // Parsed only when it can be one: a file that is not YAML at all is no error here.
  return text.starts_with("models:") || text.find("\nmodels:") != text.npos;
}

MarianFolder read_marian_config(const std::string& path) {
  const std::string text = io::read_text(path, io::kLongestYaml);
  const io::Value value = io::parse_yaml(text, path);
  const io::Field config(value, str("marian: ", path));
  const std::string folder = io::folder_of(path);
  const bool relative = config.boolean_or("relative-paths", false);

  MarianFolder files;
  const std::vector<io::Field> models = items_of(config["models"]);
  if (models.size() != 1) config["models"].fail("one model; an ensemble is several directories");
  files.model = resolve(models[0], folder, relative);
  if (const auto vocabularies = config.find("vocabs")) {
    const std::vector<io::Field> items = items_of(*vocabularies);
    if (items.size() != 2) vocabularies->fail("two vocabularies: one source, one target");
    set_vocabulary(resolve(items[0], folder, relative), "source.spm", files.source_vocabulary,
                   files.source_pieces);
    set_vocabulary(resolve(items[1], folder, relative), "target.spm", files.target_vocabulary,
                   files.target_pieces);
    // One file may cut the text of both sides.
    if (files.target_vocabulary.empty()) files.target_vocabulary = files.source_vocabulary;
  }
  if (const auto shortlist = config.find("shortlist")) {
    const std::vector<io::Field> items = items_of(*shortlist);
    if (!items.empty()) files.shortlist = resolve(items[0], folder, relative);
  }
  return files;
}

MarianFolder find_marian_files(const std::string& directory) {
  const Names names = io::list_folder(directory);
  Names configs = configs_of(directory, names);
  if (configs.size() > 1) {  // Marian leaves one for each of its checkpoints
    for (const std::string_view start : {"config", "decoder"}) {
      Names chosen;
      std::copy_if(configs.begin(), configs.end(), std::back_inserter(chosen),
                   [&](const std::string& name) { return name.starts_with(start); });
      if (chosen.size() == 1) configs = chosen;
    }
  }
  HEDDLE_CHECK(configs.size() <= 1, "marian: ", directory, ": found the configs ", joined(configs),
               "; expected one. Hint: give the one you mean");
  if (configs.size() == 1) return read_marian_config(io::join_path(directory, configs[0]));

  const Names models = models_of(directory, names);
  HEDDLE_CHECK(models.size() <= 1, "marian: ", directory, ": found the models ", joined(models),
               "; expected one. Hint: give the one you mean");
  MarianFolder files;
  if (models.empty()) return files;
  files.model = io::join_path(directory, models[0]);
  guess_vocabularies(directory, names, files);
  return files;
}

MarianFolder find_files_beside(const std::string& model) {
  const std::string folder = io::folder_of(model);
  const Names names = io::list_folder(folder);
  for (const std::string& name : configs_of(folder, names)) {
    MarianFolder files = read_marian_config(io::join_path(folder, name));
    if (io::file_name(files.model) == io::file_name(model)) {
      files.model = model;
      return files;
    }
  }
  MarianFolder files;
  files.model = model;
  guess_vocabularies(folder, names, files);
  return files;
}

}  // namespace heddle::model
