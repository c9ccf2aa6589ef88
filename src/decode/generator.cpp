#include "heddle/decode/generator.h"

#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/base/random.h"
#include "heddle/base/timer.h"
#include "heddle/decode/choose.h"
#include "heddle/decode/stop_text.h"
#include "heddle/ops/project.h"

namespace heddle::decode {

namespace {

enum class StepNeed : uint8_t { best, top, logits };

StepNeed step_need(const GenerationOptions& options) {
  if (options.repetition.penalty != 1) return StepNeed::logits;
  if (!options.sampling.enabled) return options.log_probabilities ? StepNeed::top : StepNeed::best;
  const int top_k = options.sampling.top_k;
  return top_k > 0 && top_k <= ops::kMaxTopK ? StepNeed::top : StepNeed::logits;
}

std::vector<int32_t> all_ends(const model::TransformerConfig& config, std::vector<int32_t> ends) {
  ends.push_back(config.eos);
  ends.insert(ends.end(), config.other_eos.begin(), config.other_eos.end());
  std::erase_if(ends, [&](int32_t id) { return id < 0 || id >= config.target_vocabulary; });
  std::sort(ends.begin(), ends.end());
  ends.erase(std::unique(ends.begin(), ends.end()), ends.end());
  return ends;
}

const model::Transformer& language_model(const model::Transformer& transformer) {
  HEDDLE_CHECK(transformer.config().is_language_model(),
               "generate: found an encoder–decoder; expected a language model. Hint: heddle "
               "translate");
  return transformer;
}

}  // namespace

void GenerationOptions::check() const {
  HEDDLE_CHECK(max_new_tokens >= 1, "generate: max_new_tokens is ", max_new_tokens,
               "; expected 1 or more");
  HEDDLE_CHECK(min_new_tokens >= 0 && min_new_tokens <= max_new_tokens,
               "generate: min_new_tokens is ", min_new_tokens, "; expected 0 … ", max_new_tokens,
               ", which is max_new_tokens");
  sampling.check();
  repetition.check();
}

std::string_view name_of(Finish finish) {
  if (finish == Finish::length) return "length";
  return finish == Finish::cancelled ? "cancelled" : "stop";
}

/// A request that is being written.
struct Generator::Row {
  size_t request;
  int slot;
  GenerationOptions options;
  int64_t limit;  // of new tokens
  std::vector<int32_t> history;
  Random random;
  text::BpeStream stream;
  StopText stops;
  Generated result{};
  std::vector<int32_t> banned{};
  bool done = false;

  /// What the next step may not choose.
  void ban(const std::vector<int32_t>& ends) {
    banned.clear();
    if (std::ssize(result.tokens) < options.min_new_tokens) banned = ends;
    if (options.repetition.no_repeat_ngram > 0) {
      repeated_ngrams(history, options.repetition.no_repeat_ngram, banned);
      std::sort(banned.begin(), banned.end());
      banned.erase(std::unique(banned.begin(), banned.end()), banned.end());
    }
  }

  Choice choose_from_logits(std::span<float> logits) {
    if (options.repetition.penalty != 1) penalise(logits, history, options.repetition.penalty);
    if (options.log_probabilities) log_softmax(logits);
    if (options.sampling.enabled) return draw_among(logits, options.sampling, random.uniform());
    Choice best;
    best_of(logits, {&best, 1});
    return best;
  }

  Choice choose_from_top(std::span<const Choice> choices) {
    if (!options.sampling.enabled) return choices[0];
    const std::span<const Choice> kept = choices.first(static_cast<size_t>(options.sampling.top_k));
    return kept[draw(kept, options.sampling, random.uniform())];
  }
};

Generator::Generator(const model::Transformer& transformer, const text::BpeTokenizer& tokenizer,
                     const GeneratorSettings& settings)
    : transformer_(language_model(transformer)),
      tokenizer_(tokenizer),
      settings_(settings),
      ends_(all_ends(transformer.config(), settings.ends)),
      threads_(settings.threads),
      engine_(transformer, {.rows = settings.rows,
                            .target_tokens = settings.tokens,
                            .threads = &threads_,
                            .instructions = settings.instructions}) {
  HEDDLE_CHECK(tokenizer.size() <= transformer.config().target_vocabulary,
               "generate: the tokenizer has ", tokenizer.size(), " tokens, the model ",
               transformer.config().target_vocabulary,
               "; expected no more than the model's. Hint: is it the tokenizer of this model?");
  HEDDLE_CHECK(settings.prefill_tokens >= 1, "generate: prefill_tokens is ",
               settings.prefill_tokens, "; expected 1 or more");
}

Generator::~Generator() = default;

int64_t Generator::limit_of(const GenerationRequest& request) const {
  request.options.check();
  const int64_t prompt = std::ssize(request.prompt);
  HEDDLE_CHECK(prompt >= 1, "generate: an empty prompt; expected a token at least");
  const auto outside = [&](int32_t id) { return id < 0 || id >= engine_.vocabulary(); };
  const auto bad = std::find_if(request.prompt.begin(), request.prompt.end(), outside);
  HEDDLE_CHECK(bad == request.prompt.end(), "generate: found token ", *bad, "; expected 0 … ",
               engine_.vocabulary() - 1);
  int64_t room = settings_.tokens - prompt;
  if (const int64_t most = engine_.max_positions(); most > 0) {
    HEDDLE_CHECK(prompt < most, "generate: the prompt has ", prompt, " tokens, the model reads ",
                 most, " (max_position_embeddings); expected a shorter prompt");
    room = std::min(room, most - prompt);
  }
  HEDDLE_CHECK(room >= 1, "generate: the prompt has ", prompt, " tokens, the memory holds ",
               settings_.tokens, "; expected a shorter prompt, or room for more tokens");
  return std::min(request.options.max_new_tokens, room);
}

void Generator::read_prompts(std::span<Row> rows) {
  // All but the last token, as many rows at once as fit; where a prompt is cut changes no bit.
  std::vector<int32_t> tokens, offsets;
  std::vector<int> slots;
  for (size_t r = 0; r < rows.size();) {
    tokens.clear();
    offsets.assign(1, 0);
    slots.clear();
    while (r < rows.size() && std::ssize(tokens) < settings_.prefill_tokens) {
      const Row& row = rows[r];
      const int64_t read = engine_.length(row.slot), left = std::ssize(row.history) - 1 - read;
      const int64_t count = std::min(left, settings_.prefill_tokens - std::ssize(tokens));
      if (count > 0) {
        tokens.insert(tokens.end(), row.history.begin() + read, row.history.begin() + read + count);
        offsets.push_back(static_cast<int32_t>(tokens.size()));
        slots.push_back(row.slot);
      }
      if (count < left) break;
      ++r;
    }
    if (!tokens.empty()) engine_.prefill(tokens, offsets, slots);
  }
}

void Generator::prefill(std::span<Row> rows) {
  if (rows.empty()) return;
  const Timer timer;
  for (const Row& row : rows) {
    statistics_.prompt_tokens += std::ssize(row.history) - engine_.length(row.slot);
  }
  read_prompts(rows);
  statistics_.prompt_seconds += timer.seconds();
}

void Generator::take(Row& row, Choice choice, const OnPart& on_part) {
  Generated& result = row.result;
  const auto end = [&](Finish finish) {
    result.finish = finish;
    row.done = true;
  };
  // A row that may choose nothing (everything banned) ends too.
  const bool ended =
      choice.token < 0 || std::binary_search(ends_.begin(), ends_.end(), choice.token);
  std::string text;
  if (ended) {
    end(Finish::end_token);
  } else {
    ++statistics_.new_tokens;
    row.history.push_back(choice.token);
    result.tokens.push_back(choice.token);
    if (row.options.log_probabilities) result.log_probabilities.push_back(choice.log_probability);
    // A model may have more rows than its tokenizer has pieces: they say nothing.
    if (choice.token < tokenizer_.size()) text = row.stops.push(row.stream.push(choice.token));
    if (row.stops.found()) {
      end(Finish::stop_text);
    } else if (std::ssize(result.tokens) >= row.limit) {
      end(Finish::length);
    }
  }
  if (!ended) {
    result.text += text;
    const bool goes_on =
        !on_part || on_part({row.request, choice.token, text, choice.log_probability});
    if (!goes_on && !row.done) end(Finish::cancelled);
  }
  if (!row.done) return;
  std::string rest = row.stops.push(row.stream.finish());
  if (row.stops.found()) {
    result.finish = Finish::stop_text;
  } else {
    rest += row.stops.finish();
  }
  result.text += rest;
  if (on_part && !rest.empty()) on_part({row.request, -1, rest, 0});
}

void Generator::step_group(std::span<Row* const> rows, const OnPart& on_part) {
  std::vector<int> slots;
  std::vector<int32_t> previous;
  std::vector<Tokens> banned;
  int k = 1;
  bool bans = false;
  for (Row* row : rows) {
    row->ban(ends_);
    slots.push_back(row->slot);
    previous.push_back(row->history.back());
    banned.push_back(row->banned);
    bans = bans || !row->banned.empty();
    if (row->options.sampling.enabled) k = std::max(k, row->options.sampling.top_k);
  }
  Step step{.slots = slots, .previous = previous};
  if (bans) step.banned = banned;
  std::vector<Choice> chosen(rows.size());
  switch (step_need(rows[0]->options)) {
    case StepNeed::best: {
      std::vector<int32_t> tokens(rows.size());
      engine_.best(step, tokens);
      for (size_t r = 0; r < rows.size(); ++r) chosen[r] = {tokens[r], 0};
      break;
    }
    case StepNeed::top: {
      const auto width = static_cast<size_t>(k);
      std::vector<Choice> choices(rows.size() * width);  // [R, k]
      engine_.top(step, k, choices);
      for (size_t r = 0; r < rows.size(); ++r) {
        chosen[r] = rows[r]->choose_from_top(std::span(choices).subspan(r * width, width));
      }
      break;
    }
    case StepNeed::logits: {
      const auto width = static_cast<size_t>(engine_.vocabulary());
      logits_.resize(rows.size() * width);  // [R, V]
      engine_.logits(step, logits_);
      for (size_t r = 0; r < rows.size(); ++r) {
        chosen[r] = rows[r]->choose_from_logits(std::span(logits_).subspan(r * width, width));
      }
      break;
    }
  }
  for (size_t r = 0; r < rows.size(); ++r) take(*rows[r], chosen[r], on_part);
}

void Generator::step(std::span<Row> rows, const OnPart& on_part) {
  const Timer timer;
  for (const StepNeed need : {StepNeed::best, StepNeed::top, StepNeed::logits}) {
    std::vector<Row*> group;
    for (Row& row : rows) {
      if (!row.done && step_need(row.options) == need) group.push_back(&row);
    }
    if (!group.empty()) step_group(group, on_part);
  }
  statistics_.new_seconds += timer.seconds();
}

std::vector<Generated> Generator::generate(std::span<const GenerationRequest> requests,
                                           const OnPart& on_part) {
  std::vector<int64_t> limits;
  for (const GenerationRequest& request : requests) limits.push_back(limit_of(request));
  std::vector<Generated> results(requests.size());
  std::vector<Row> rows;
  const auto release_done = [&] {
    for (Row& row : rows) {
      if (!row.done) continue;
      engine_.release(row.slot);
      results[row.request] = std::move(row.result);
    }
    std::erase_if(rows, [](const Row& row) { return row.done; });
  };
  try {
    for (size_t next = 0; next < requests.size() || !rows.empty(); release_done()) {
      const size_t before = rows.size();
      for (; next < requests.size(); ++next) {
        const GenerationRequest& request = requests[next];
        const std::optional<int> slot = engine_.admit(0, std::ssize(request.prompt) + limits[next]);
        if (!slot) break;
        rows.push_back({next, *slot, request.options, limits[next], request.prompt,
                        Random(request.options.sampling.seed, request.random_key * kMaxBeam),
                        text::BpeStream(tokenizer_), StopText(request.options.stop)});
        rows.back().result.prompt_tokens = std::ssize(request.prompt);
      }
      HEDDLE_CHECK(!rows.empty(), "generate: no room for prompt ", next,
                   "; expected slots that no conversation holds");
      prefill(std::span(rows).subspan(before));
      step(rows, on_part);
    }
  } catch (...) {
    for (const Row& row : rows) engine_.release(row.slot);
    throw;
  }
  return results;
}

Conversation::Conversation(Generator& generator, int64_t context)
    : generator_(generator), context_(context) {
  const std::optional<int> slot = generator.engine_.admit(0, context);
  HEDDLE_CHECK(slot.has_value(), "generate: no room for a conversation of ", context,
               " tokens; expected at most ", generator.settings_.tokens);
  slot_ = *slot;
}

Conversation::~Conversation() { generator_.engine_.release(slot_); }

Generated Conversation::reply(std::span<const int32_t> more, const GenerationOptions& options,
                              const OnPart& on_part) {
  GenerationRequest request{.prompt = history_, .options = options, .random_key = turn_};
  request.prompt.insert(request.prompt.end(), more.begin(), more.end());
  const int64_t read = std::ssize(request.prompt);
  HEDDLE_CHECK(read < context_, "generate: the conversation has ", read, " tokens, its context ",
               context_, "; expected fewer. Hint: a larger context, or a new conversation");
  const int64_t limit = std::min(generator_.limit_of(request), context_ - read);
  std::vector<Generator::Row> rows;
  rows.push_back({0, slot_, options, limit, std::move(request.prompt),
                  Random(options.sampling.seed, turn_ * kMaxBeam),
                  text::BpeStream(generator_.tokenizer_), StopText(options.stop)});
  rows[0].result.prompt_tokens = read;
  ++turn_;
  try {
    generator_.prefill(rows);
    while (!rows[0].done) generator_.step(rows, on_part);
  } catch (...) {
    history_ = std::move(rows[0].history);  // of which the slot has read a beginning
    throw;
  }
  history_ = std::move(rows[0].history);
  return std::move(rows[0].result);
}

}  // namespace heddle::decode
