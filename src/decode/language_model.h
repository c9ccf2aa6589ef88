// A language model from files, with all that writing text with it takes: weights, tokenizer, chat
// template and what its authors recommend.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "heddle/decode/options.h"
#include "heddle/model/transformer.h"
#include "heddle/text/bpe_tokenizer.h"
#include "heddle/text/chat_template.h"

namespace heddle::decode {

/// Of generation_config.json; what it does not say is as without the file.
struct GenerationDefaults {
  std::vector<int32_t> ends;  ///< eos_token_id: one, or a list
  Sampling sampling{};
  Repetition repetition{};
};

/// Reads the content of a generation_config.json; other fields are not looked at.
GenerationDefaults read_generation_config(const std::string& text, const std::string& name);

/// What reads and writes a language model's text; the rest of it is not looked at.
struct TextFiles {
  text::BpeTokenizer tokenizer;
  std::string chat_template;  ///< Jinja; empty: none
  std::string path;           ///< of the directory or file
};

/// As load_language_model.
TextFiles load_text_files(const std::string& path);

/// A directory without a config.json that holds one GGUF model (of one part or more) is that file.
std::string language_model_file(const std::string& path);

/// The weights of a model; of an adapter's directory those of the model that it names, with the
/// adapter in them.
model::ModelFiles load_merged(const std::string& path);

struct LanguageModel {
  model::Transformer transformer;
  text::BpeTokenizer tokenizer;
  GenerationDefaults defaults;
  std::string chat_template;  ///< Jinja; empty: none
  std::string path;           ///< of the directory or file
};

/// A Hugging Face directory, a GGUF file, a directory that holds one GGUF file, or an adapter's,
/// which is merged into its model. Throws for what is not a language model, and for one without its
/// tokenizer.
LanguageModel load_language_model(const std::string& path,
                                  model::Precision precision = model::Precision::native);

/// The chat template of that name, or where it is empty the one that the model's files have.
/// Nothing for "none" and for a model without one.
std::optional<text::ChatTemplate> chat_template_for(const LanguageModel& model,
                                                    const std::string& name);
std::optional<text::ChatTemplate> chat_template_for(const TextFiles& files,
                                                    const std::string& name);

/// The tokens that end a text: of the model, its defaults and, if any, its chat template.
std::vector<int32_t> ends_of(const LanguageModel& model,
                             const std::optional<text::ChatTemplate>& chat);

}  // namespace heddle::decode
