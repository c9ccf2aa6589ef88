#include "heddle/decode/language_model.h"

#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/gguf.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/source.h"
#include "heddle/model/formats/formats.h"
#include "heddle/model/formats/peft.h"
#include "heddle/text/tokenizer_gguf.h"

namespace heddle::decode {

namespace {

constexpr uint64_t kMostConfigBytes = 1 << 20;
constexpr int64_t kMostTokenId = 1 << 30;

std::optional<text::ChatTemplate> template_for(const std::string& jinja, const std::string& path,
                                               const std::string& name) {
  if (name == "none") return std::nullopt;
  if (!name.empty()) return text::ChatTemplate::named(name);
  if (jinja.empty()) return std::nullopt;
  return text::ChatTemplate::recognise(jinja, path);
}

/// The model that an adapter belongs to; other paths are models.
std::string base_path(const std::string& path) {
  if (!model::is_adapter(path)) return path;
  std::string base = model::base_of_adapter(path);
  HEDDLE_CHECK(!base.empty(), path,
               ": found an adapter that does not say what it belongs to; expected "
               "base_model_name_or_path. Hint: heddle merge --model");
  return base;
}

}  // namespace

std::string language_model_file(const std::string& path) {
  if (!io::is_directory(path) || io::exists(io::join_path(path, "config.json"))) return path;
  std::vector<std::string> found;
  for (const std::string& name : io::list_folder(path)) {
    const bool later_part = name.find("-of-") != name.npos && name.find("-00001-of-") == name.npos;
    if (name.ends_with(".gguf") && !later_part) found.push_back(name);
  }
  if (found.empty()) return path;
  HEDDLE_CHECK(found.size() == 1, path, ": found ", found.size(), " GGUF models (", found[0], ", ",
               found[1], ", …); expected one. Hint: name the file");
  return io::join_path(path, found[0]);
}

TextFiles load_text_files(const std::string& given) {
  const std::string path = language_model_file(base_path(given));
  if (!io::is_directory(path)) {
    const io::GgufModel model(path);
    const text::GgufTokenizer files = text::read_gguf_tokenizer(model.files().front());
    return {text::make_bpe_tokenizer(files.json, path, files.config, path),
            text::chat_template_of(files.config, path), path};
  }
  HEDDLE_CHECK(io::exists(io::join_path(path, "tokenizer.json")), path,
               ": found no tokenizer; expected tokenizer.json beside the weights. Hint: "
               "AutoTokenizer.from_pretrained(…).save_pretrained(…) of transformers writes it");
  return {text::load_bpe_tokenizer(path), text::load_chat_template(path), path};
}

GenerationDefaults read_generation_config(const std::string& text, const std::string& name) {
  const io::Value value = io::parse_json(text, name);
  const io::Field json(value, name);
  GenerationDefaults defaults;
  if (const auto eos = json.find("eos_token_id")) {
    if (eos->value().list() != nullptr) {
      for (const io::Field& each : eos->items()) {
        defaults.ends.push_back(static_cast<int32_t>(each.integer(0, kMostTokenId)));
      }
    } else {
      defaults.ends.push_back(static_cast<int32_t>(eos->integer(0, kMostTokenId)));
    }
  }
  Sampling& sampling = defaults.sampling;
  if (const auto samples = json.find("do_sample")) sampling.enabled = samples->boolean();
  if (sampling.enabled) {
    sampling.temperature = json.number_or("temperature", 1);
    sampling.top_k = static_cast<int>(json.integer_or("top_k", 0, 0, kMostTokenId));
    sampling.top_p = json.number_or("top_p", 1);
    sampling.min_p = json.number_or("min_p", 0);
  }
  defaults.repetition.penalty = json.number_or("repetition_penalty", 1);
  defaults.repetition.no_repeat_ngram =
      static_cast<int>(json.integer_or("no_repeat_ngram_size", 0, 0, kMostTokenId));
  return defaults;
}

model::ModelFiles load_merged(const std::string& path) {
  model::ModelFiles files = model::load_model(language_model_file(base_path(path)));
  if (!model::is_adapter(path)) return files;
  files = model::base_for(path, std::move(files));
  const model::Adapter adapter = model::load_adapter(path, files.config);
  return model::merged(std::move(files), adapter);
}

LanguageModel load_language_model(const std::string& path, model::Precision precision) {
  const std::string file = language_model_file(base_path(path));
  const model::ModelFiles files = load_merged(path);
  HEDDLE_CHECK(files.config.is_language_model(), "generate: ", path,
               ": found an encoder–decoder; expected a language model. Hint: heddle translate "
               "--model ",
               path);
  HEDDLE_CHECK(!files.config.scores, "generate: ", path,
               ": found a reward model; expected one that writes. Hint: heddle score --model ",
               path);
  TextFiles tokenizer = load_text_files(file);
  GenerationDefaults defaults;
  const std::string config = io::join_path(file, "generation_config.json");
  if (io::is_directory(file) && io::exists(config)) {
    defaults = read_generation_config(io::read_text(config, kMostConfigBytes), config);
  }
  return {model::Transformer(files, precision), std::move(tokenizer.tokenizer), std::move(defaults),
          std::move(tokenizer.chat_template), file};
}

std::optional<text::ChatTemplate> chat_template_for(const LanguageModel& model,
                                                    const std::string& name) {
  return template_for(model.chat_template, model.path, name);
}

std::optional<text::ChatTemplate> chat_template_for(const TextFiles& files,
                                                    const std::string& name) {
  return template_for(files.chat_template, files.path, name);
}

std::vector<int32_t> ends_of(const LanguageModel& model,
                             const std::optional<text::ChatTemplate>& chat) {
  std::vector<int32_t> ends = model.defaults.ends;
  ends.push_back(model.tokenizer.eos());
  if (chat) ends.push_back(model.tokenizer.id_of(chat->end()));  // −1 where it is {eos}
  return ends;
}

}  // namespace heddle::decode
