#include "cli/generate_session.h"

#include <algorithm>
#include <ctime>

#include "cli/format.h"
#include "cli/translate_report.h"
#include "heddle/base/error.h"

namespace heddle::cli {

namespace {

constexpr int64_t kUsualContext = 4096;

/// "26 Jul 2024", in English whatever the locale.
std::string today() {
  constexpr const char* kMonths[] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  ::localtime_r(&now, &local);
  return str(local.tm_mday < 10 ? "0" : "", local.tm_mday, " ", kMonths[local.tm_mon], " ",
             local.tm_year + 1900);
}

std::string rate_text(int64_t tokens, double seconds) {
  const double rate = seconds > 0 ? static_cast<double>(tokens) / seconds : 0;
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", rate);
  return str(with_separators(tokens), tokens == 1 ? " token, " : " tokens, ", text, " a second");
}

}  // namespace

GenerateSession::GenerateSession(const SessionSettings& settings)
    : settings_(settings),
      model_(decode::load_language_model(settings.model,
                                         ops::precision_named(settings.precision, "--dtype"))),
      date_(today()) {
  if (!settings.raw) chat_ = decode::chat_template_for(model_, settings.chat_template);
  HEDDLE_CHECK(chat_ || settings.system.empty(),
               "generate: --system without a chat template; "
               "expected a model that has one. Hint: --chat-template ",
               text::ChatTemplate::names());
}

std::vector<int32_t> GenerateSession::tokens_of(const std::string& prompt) const {
  if (chat_) return turn_of(prompt, true);
  std::vector<int32_t> tokens = model_.tokenizer.encode(prompt, {.add_special_tokens = true});
  HEDDLE_CHECK(!tokens.empty(), "generate: an empty prompt; expected text");
  return tokens;
}

std::vector<int32_t> GenerateSession::tokens_of(std::span<const text::ChatMessage> messages) const {
  HEDDLE_CHECK(chat_.has_value(),
               "generate: messages for a model without a chat template; "
               "expected one. Hint: --chat-template ",
               text::ChatTemplate::names());
  return chat_->encode(messages, model_.tokenizer, date_);
}

std::vector<int32_t> GenerateSession::turn_of(const std::string& message, bool first) const {
  std::vector<text::ChatMessage> messages;
  if (first && !settings_.system.empty()) {
    messages.push_back({text::Role::system, settings_.system});
  }
  messages.push_back({text::Role::user, message});
  return chat_->encode(messages, model_.tokenizer, date_, {.continues = !first});
}

void GenerateSession::make_room(int rows, int64_t tokens) {
  if (generator_ && rows <= rows_ && tokens <= tokens_) return;
  if (generator_) before_ = generator_->statistics();
  rows_ = std::max(rows, rows_);
  tokens_ = std::max(tokens, tokens_);
  generator_.reset();  // its memory before that of the next
  generator_ = std::make_unique<decode::Generator>(
      model_.transformer, model_.tokenizer,
      decode::GeneratorSettings{.rows = rows_,
                                .tokens = tokens_,
                                .ends = decode::ends_of(model_, chat_),
                                .threads = settings_.threads});
  generator_->go_on_from(before_);
}

std::vector<decode::Generated> GenerateSession::generate(
    std::span<const decode::GenerationRequest> requests, const decode::OnPart& on_part) {
  if (requests.empty()) return {};
  const int64_t most = model_.transformer.config().max_positions;
  int64_t longest = 0, together = 0;
  for (const decode::GenerationRequest& request : requests) {
    const int64_t prompt = std::ssize(request.prompt);
    int64_t tokens = prompt + request.options.max_new_tokens;
    if (most > 0) tokens = std::max(std::min(tokens, most), prompt + 1);
    longest = std::max(longest, tokens);
    together += tokens;
  }
  const int rows = static_cast<int>(std::min<int64_t>(settings_.rows, std::ssize(requests)));
  make_room(rows, std::min(together, rows * longest));
  return generator_->generate(requests, on_part);
}

std::unique_ptr<decode::Conversation> GenerateSession::converse(int64_t context) {
  HEDDLE_CHECK(chat_.has_value(),
               "generate: --chat with a model without a chat template; "
               "expected one. Hint: --chat-template ",
               text::ChatTemplate::names());
  const int64_t most = model_.transformer.config().max_positions;
  HEDDLE_CHECK(context >= 0 && (most == 0 || context <= most), "generate: --context is ", context,
               "; expected 1 … ", most, ", which the model reads (max_position_embeddings)");
  if (context == 0) context = most == 0 ? kUsualContext : std::min(most, kUsualContext);
  make_room(1, context);
  return std::make_unique<decode::Conversation>(*generator_, context);
}

std::string GenerateSession::summary() const {
  const decode::GenerationStatistics all =
      generator_ ? generator_->statistics() : decode::GenerationStatistics{};
  return str("prompt: ", rate_text(all.prompt_tokens, all.prompt_seconds),
             "; new: ", rate_text(all.new_tokens, all.new_seconds), "; ",
             bytes_text(static_cast<double>(peak_memory())), " at most\n");
}

}  // namespace heddle::cli
