// Text from prompts with a language model: slots side by side, each with options of its own, and
// text while it is made.
//
//   Generator generator(transformer, tokenizer, {.rows = 8});
//   generator.generate(requests, [](const GeneratedPart& part) { …; return true; });
//
// A request admitted reads all but the last token of its prompt (ModelEngine::prefill); every token
// chosen then comes of a step. Steps need the best token (fused with the projection, no logits
// stored), the k best, or all logits; rows with the same need step together. What is written does
// not depend on the company, to the bit.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/decode/model_engine.h"
#include "heddle/decode/options.h"
#include "heddle/text/bpe_tokenizer.h"

namespace heddle::decode {

struct GenerationOptions {
  int64_t max_new_tokens = 256;
  int64_t min_new_tokens = 0;  ///< no end token is chosen before so many
  Sampling sampling{};
  Repetition repetition{};  ///< the prompt counts as written
  std::vector<std::string> stop{};
  bool log_probabilities = false;  ///< of each token; with a penalty, after it

  void check() const;
};

struct GenerationRequest {
  std::vector<int32_t> prompt;  ///< at least one token
  GenerationOptions options{};
  uint64_t random_key = 0;  ///< random numbers depend on (seed, this, step) alone
};

enum class Finish : uint8_t { end_token, stop_text, length, cancelled };
std::string_view name_of(Finish finish);  ///< "stop", "stop", "length", "cancelled"

struct Generated {
  std::vector<int32_t> tokens;  ///< an end token not among them
  std::string text;             ///< up to a stop string
  std::vector<float> log_probabilities;
  Finish finish = Finish::length;
  int64_t prompt_tokens = 0;
};

/// One more token of a request.
struct GeneratedPart {
  size_t request;
  int32_t token;          ///< −1 with what was held back at the end
  std::string_view text;  ///< what is certain now; often empty
  float log_probability;
};

/// Returning false ends the request.
using OnPart = std::function<bool(const GeneratedPart&)>;

struct GeneratorSettings {
  int rows = 8;                     ///< requests at once
  int64_t tokens = 4096;            ///< of all rows together: prompts and what may be written
  int64_t prefill_tokens = 256;     ///< of prompts, read at once
  std::vector<int32_t> ends{};      ///< beside the config's
  int threads = 1;                  ///< share large products and change no bit; 0: one a processor
  std::string_view instructions{};  ///< set of the kernels by name; empty: the widest there is
};

struct GenerationStatistics {
  int64_t prompt_tokens = 0, new_tokens = 0;
  double prompt_seconds = 0, new_seconds = 0;
};

class Conversation;

class Generator {
 public:
  /// Both must outlive the generator. Throws unless they are a language model and its tokenizer.
  Generator(const model::Transformer& transformer, const text::BpeTokenizer& tokenizer,
            const GeneratorSettings& settings);
  ~Generator();

  /// All requests, in their order. Throws when one cannot fit at all, before anything is read.
  std::vector<Generated> generate(std::span<const GenerationRequest> requests,
                                  const OnPart& on_part = {});

  const std::vector<int32_t>& ends() const { return ends_; }  ///< rising
  const GenerationStatistics& statistics() const { return statistics_; }
  void go_on_from(const GenerationStatistics& before) { statistics_ = before; }  ///< counts on
  int64_t state_bytes() const { return engine_.state_bytes(); }

 private:
  friend class Conversation;
  struct Row;

  int64_t limit_of(const GenerationRequest& request) const;
  void prefill(std::span<Row> rows);
  void step(std::span<Row> rows, const OnPart& on_part);
  void step_group(std::span<Row* const> rows, const OnPart& on_part);
  void take(Row& row, Choice choice, const OnPart& on_part);
  void read_prompts(std::span<Row> rows);

  const model::Transformer& transformer_;
  const text::BpeTokenizer& tokenizer_;
  GeneratorSettings settings_;
  std::vector<int32_t> ends_;
  ThreadPool threads_;
  ModelEngine engine_;
  GenerationStatistics statistics_;
  std::vector<float> logits_;  // [R, V]
};

/// One slot that reads on: each turn takes up behind what has been read and written before.
class Conversation {
 public:
  /// Takes `context` of the generator's tokens for as long as it lives.
  Conversation(Generator& generator, int64_t context);
  ~Conversation();

  /// Reads `more` behind everything so far and writes on. Throws when that does not fit in what is
  /// left, with nothing changed.
  Generated reply(std::span<const int32_t> more, const GenerationOptions& options,
                  const OnPart& on_part = {});

  int64_t length() const { return std::ssize(history_); }  ///< tokens read and written
  int64_t context() const { return context_; }

 private:
  Generator& generator_;
  int64_t context_;
  int slot_;
  uint64_t turn_ = 0;
  std::vector<int32_t> history_;
};

}  // namespace heddle::decode
