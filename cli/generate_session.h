// One run of `heddle generate`: prompts to tokens, tokens to text, and what it took.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "heddle/decode/generator.h"
#include "heddle/decode/language_model.h"

namespace heddle::cli {

struct SessionSettings {
  std::string model, precision = "native", chat_template, system;
  bool raw = false;
  int rows = 8;
  int threads = 1;
};

class GenerateSession {
 public:
  explicit GenerateSession(const SessionSettings& settings);

  const decode::LanguageModel& model() const { return model_; }
  bool has_template() const { return chat_.has_value(); }

  /// The tokens of a prompt: in a turn of the user where there is a template, else as it is.
  std::vector<int32_t> tokens_of(const std::string& prompt) const;
  std::vector<int32_t> tokens_of(std::span<const text::ChatMessage> messages) const;

  /// What a conversation reads next: its beginning at first, later the end of the last answer too.
  std::vector<int32_t> turn_of(const std::string& message, bool first) const;

  std::vector<decode::Generated> generate(std::span<const decode::GenerationRequest> requests,
                                          const decode::OnPart& on_part = {});

  /// A conversation of so many tokens; 0: as many as the model reads, 4,096 at most.
  std::unique_ptr<decode::Conversation> converse(int64_t context);

  /// "prompt: 12 tokens, 340.1 a second; new: 64 tokens, 25.3 a second; …"
  std::string summary() const;

 private:
  void make_room(int rows, int64_t tokens);

  SessionSettings settings_;
  decode::LanguageModel model_;
  std::optional<text::ChatTemplate> chat_;
  std::string date_;
  std::unique_ptr<decode::Generator> generator_;
  int rows_ = 0;
  int64_t tokens_ = 0;
  decode::GenerationStatistics before_;  // of earlier generators
};

}  // namespace heddle::cli
