// Conversations as the text and the tokens that a model was trained to read.
//
//   const ChatTemplate chat = ChatTemplate::recognise(jinja, "tokenizer_config.json");
//   ChatTokens tokens{.bos = "<bos>", .eos = "<eos>"};
//   std::string text = chat.text({{Role::user, "Hi"}}, tokens, {.generation_prompt = true});
//
// The text is that of transformers' apply_chat_template. There is no Jinja: the common templates
// are rows of a table (chat_template_rows.h), found by what their text holds; others are refused by
// name. Tools, images and thoughts of earlier turns are no part of it.
//
// In tokens, what messages hold stays text: "<|im_end|>" in a message is no control token.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/text/bpe_tokenizer.h"

namespace heddle::text {

enum class Role : uint8_t { system, user, assistant };

/// "system", "user" or "assistant"; throws for others: "tool", ….
Role role_named(std::string_view name);

struct ChatMessage {
  Role role = Role::user;
  std::string content;
};

/// What a template takes from elsewhere.
struct ChatTokens {
  std::string bos, eos;  ///< empty: none
  std::string date;      ///< "26 Jul 2024", for templates that tell the model today's
};
ChatTokens chat_tokens_of(const BpeTokenizer& tokenizer, std::string date);

struct ChatOptions {
  bool generation_prompt = true;  ///< the beginning of an answer stands at the end

  /// The messages stand behind an answer that has been read without its end; the conversation's
  /// beginning is not repeated.
  bool continues = false;
};

/// A conversation as its template has it, told apart by who writes what.
enum class ChatSegmentKind : uint8_t {
  control,  ///< control tokens and nothing else: "<|im_start|>"
  markup,   ///< text of the template: "user\n"
  content,  ///< text of a turn, with all that its speaker writes: Llama 2's space before an answer
  end,      ///< the control tokens that end a turn: what a model stops with
};

struct ChatSegment {
  ChatSegmentKind kind = ChatSegmentKind::content;
  std::string text;
  int32_t turn = -1;  ///< of content and end: the number of the message
  bool operator==(const ChatSegment&) const = default;
};

struct ChatRow;

class ChatTemplate {
 public:
  /// The row of that name; throws with the names there are.
  static ChatTemplate named(std::string_view name);

  /// The row whose marks a Jinja template holds; throws when it is none of them.
  static ChatTemplate recognise(std::string_view jinja, std::string_view place);

  static std::string names();  ///< "chatml, gemma2, …", for help

  std::string_view name() const;

  /// The token that ends an answer: "<end_of_turn>"; "{eos}": the tokenizer's own.
  std::string_view end() const;

  std::string text(std::span<const ChatMessage> messages, const ChatTokens& tokens,
                   const ChatOptions& options = {}) const;

  /// The same in order, in segments.
  std::vector<ChatSegment> segments(std::span<const ChatMessage> messages, const ChatTokens& tokens,
                                    const ChatOptions& options = {}) const;

  /// Throws unless the tokenizer has every control token that the template can write.
  void check(const BpeTokenizer& tokenizer) const;

  /// Throws when the tokenizer lacks a control token.
  std::vector<int32_t> encode(std::span<const ChatMessage> messages, const BpeTokenizer& tokenizer,
                              std::string date, const ChatOptions& options = {}) const;

 private:
  explicit ChatTemplate(const ChatRow& row) : row_(&row) {}
  const ChatRow* row_;
};

/// The Jinja template of a model directory: chat_template.jinja, or what tokenizer_config.json has
/// under that name (of several, the default one); empty when there is none.
std::string load_chat_template(const std::string& folder);

/// The same of the text of a tokenizer_config.json.
std::string chat_template_of(std::string_view config, std::string_view name);

}  // namespace heddle::text
