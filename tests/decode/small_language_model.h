// A tokenizer for the tiny language models of tests/golden/language_models: 48 pieces, letters and
// what they are merged to, with ChatML's control tokens.
#pragma once

#include <string>
#include <vector>

#include "heddle/model/training.h"
#include "heddle/text/bpe_tokenizer.h"
#include "tests/model/language_models.h"

namespace heddle::decode::test {

inline std::string small_tokenizer_json() {
  std::vector<std::string> pieces{"<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"};
  for (char letter = 'a'; letter <= 'z'; ++letter) pieces.emplace_back(1, letter);
  for (const char* piece : {"Ġ", "Ċ", "th", "the", "er", "in", "on", "Ġa", "Ġthe", "an", "at", "es",
                            "<", ">", "|", "_", "!"}) {
    pieces.emplace_back(piece);
  }
  std::string vocabulary, added;
  for (size_t id = 0; id < pieces.size(); ++id) {
    vocabulary += (id == 0 ? "\"" : ", \"") + pieces[id] + "\": " + std::to_string(id);
    if (id >= 5) continue;
    added += (id == 0 ? "" : ", ") + ("{\"id\": " + std::to_string(id)) + ", \"content\": \"" +
             pieces[id] +
             R"(", "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
                "special": true})";
  }
  return R"({"version": "1.0", "truncation": null, "padding": null, "normalizer": null,
    "added_tokens": [)" +
         added + R"(],
    "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
                      "use_regex": true},
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
      "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                "use_regex": true},
    "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
      "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
      "vocab": {)" +
         vocabulary + R"(},
      "merges": ["t h", "th e", "e r", "i n", "o n", "Ġ a", "Ġ the", "a n", "a t", "e s"]}})";
}

inline std::string small_tokenizer_config() {
  return R"({"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast",
  "chat_template": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"})";
}

/// Wide enough for threads to share its products, with more tokens than one block of logits.
inline model::ModelFiles wide_language_model() {
  model::TransformerConfig config = model::load_model(model::language_folder("llama")).config;
  config.width = 512;
  config.head_width = 128;
  config.decoder.ffn_width = 1100;
  config.source_vocabulary = config.target_vocabulary = 17'000;
  return model::random_model(config, 7);
}

inline text::BpeTokenizer small_tokenizer() {
  return text::make_bpe_tokenizer(small_tokenizer_json(), "tokenizer.json",
                                  small_tokenizer_config(), "tokenizer_config.json");
}

}  // namespace heddle::decode::test
