#include "heddle/decode/walk.h"

#include <algorithm>
#include <cmath>

#include "heddle/decode/choose.h"

namespace heddle::decode {

namespace {

constexpr int kMostDrawn = 64;  // choices that an engine gives at once

}  // namespace

Walk::Walk(Request request, std::vector<int> slots, std::vector<int32_t> candidates, Engine& engine)
    : Search(std::move(request), std::move(slots), std::move(candidates), engine) {
  for (size_t sample = 0; sample < slots_.size(); ++sample) {
    const uint64_t stream = request_.random_key * kMaxBeam + sample;
    rows_.push_back({{}, Random(options().sampling.seed, stream)});
    previous_.push_back(engine_.start());
    banned_.emplace_back();
  }
  prepare();
}

Need Walk::need() const {
  const bool forced = step_ < std::ssize(request_.prefix);
  if (forced) return options().scores ? Need::logits : Need::nothing;
  if (options().repetition.penalty != 1) return Need::logits;
  if (options().sampling.enabled) {
    const int top_k = options().sampling.top_k;
    return top_k > 0 && top_k <= kMostDrawn ? Need::top : Need::logits;
  }
  return options().scores ? Need::top : Need::best;
}

int Walk::choices() const { return options().sampling.enabled ? options().sampling.top_k : 1; }

Choice Walk::choose_from_logits(std::span<float> logits, Row& row) {
  if (options().repetition.penalty != 1) {
    penalise(logits, row.hypothesis.tokens, options().repetition.penalty);
  }
  log_softmax(logits);
  if (step_ < std::ssize(request_.prefix)) {
    const int32_t token = request_.prefix[static_cast<size_t>(step_)];
    return {token, logits[static_cast<size_t>(token)]};
  }
  const Sampling& sampling = options().sampling;
  Choice best;
  if (!sampling.enabled) {
    best_of(logits, {&best, 1});
    return best;
  }
  return draw_among(logits, sampling, row.random.uniform());
}

Choice Walk::choose(const Answer& answer, size_t row) {
  switch (need()) {
    case Need::nothing:
      return {request_.prefix[static_cast<size_t>(step_)], 0.0f};
    case Need::best:
      return {answer.best[row], 0.0f};
    case Need::logits: {
      const size_t width = answer.logits.size() / slots_.size();
      return choose_from_logits(answer.logits.subspan(row * width, width), rows_[row]);
    }
    case Need::top:
      break;
  }
  const size_t width = static_cast<size_t>(answer.width), kept = static_cast<size_t>(choices());
  const std::span<const Choice> choices = answer.choices.subspan(row * width, kept);
  if (!options().sampling.enabled) return choices[0];
  return choices[draw(choices, options().sampling, rows_[row].random.uniform())];
}

void Walk::prepare() {
  for (size_t row = 0; row < rows_.size(); ++row) ban(rows_[row].hypothesis.tokens, banned_[row]);
}

bool Walk::advance(const Answer& answer) {
  std::vector<Choice> chosen(slots_.size());
  for (size_t row = 0; row < slots_.size(); ++row) chosen[row] = choose(answer, row);
  ++step_;
  size_t kept = 0;
  for (size_t row = 0; row < chosen.size(); ++row) {
    Hypothesis& hypothesis = rows_[row].hypothesis;
    const auto [token, log_probability] = chosen[row];
    hypothesis.log_probability += log_probability;
    if (options().scores) hypothesis.token_scores.push_back(log_probability);
    align(answer.first_row + static_cast<int>(row), hypothesis.alignment);
    // A row that may choose nothing (everything banned) ends too.
    hypothesis.ended = token == engine_.end() || token < 0;
    if (!hypothesis.ended) hypothesis.tokens.push_back(token);
    if (hypothesis.ended || step_ >= limit_) {
      hypothesis.score = hypothesis.log_probability /
                         std::pow(static_cast<double>(step_), options().length_penalty);
      done_.push_back(std::move(hypothesis));
      engine_.release(slots_[row]);
      continue;
    }
    if (kept != row) {
      slots_[kept] = slots_[row];
      rows_[kept] = std::move(rows_[row]);
    }
    previous_[kept++] = token;
  }
  slots_.resize(kept);
  previous_.resize(kept);
  banned_.resize(kept);
  rows_.erase(rows_.begin() + static_cast<std::ptrdiff_t>(kept), rows_.end());
  prepare();
  return slots_.empty();
}

std::vector<Hypothesis> Walk::finish() {
  std::stable_sort(done_.begin(), done_.end(),
                   [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  return std::move(done_);
}

}  // namespace heddle::decode
