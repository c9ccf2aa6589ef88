// A data set of conversations as commands take it that look at one once, without a cache.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cli/command_line.h"
#include "heddle/data/conversation_reader.h"
#include "heddle/data/token_examples.h"
#include "heddle/decode/language_model.h"

namespace heddle::cli {

struct DatasetChoice {
  std::string dataset, format = "auto", chat_template, train_on = "auto";
  std::string train_on_eos = "turn", excess = "drop", on_bad_line = "raise";
  int64_t max_length = 4096, examples = 1000;
  bool control_tokens = false;

  void add_to(const Command& command);
};

/// The first examples of a data set, as tokens.
struct ReadExamples {
  std::vector<int32_t> tokens;
  std::vector<uint64_t> offsets{0}, lines;
  data::ConversationCounts counts;
  data::DatasetFormat format = data::DatasetFormat::automatic;

  data::TokenExamples view() const { return {tokens, offsets}; }
};

/// Throws when none is left.
ReadExamples read_examples(const DatasetChoice& choice, const decode::TextFiles& files);

/// "raise" or "skip".
data::OnBadLine on_bad_line(const std::string& name);

/// Of a model's directory or file; a tokenizer.json by itself has no template.
decode::TextFiles text_files_of(const std::string& path);

}  // namespace heddle::cli
