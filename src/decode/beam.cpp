#include "heddle/decode/beam.h"

#include <algorithm>
#include <cmath>

#include "heddle/decode/choose.h"

namespace heddle::decode {

BeamSearch::BeamSearch(Request request, std::vector<int> slots, std::vector<int32_t> candidates,
                       Engine& engine)
    : Search(std::move(request), std::move(slots), std::move(candidates), engine),
      most_done_(
          static_cast<size_t>(std::llround(std::ceil(options().beam * options().patience)))) {
  // The first step has one hypothesis, the empty one.
  spare_.assign(slots_.begin() + 1, slots_.end());
  slots_.resize(1);
  live_.resize(1);
  previous_.assign(1, engine_.start());
  banned_.resize(1);
  ban({}, banned_[0]);
}

size_t BeamSearch::width() const {
  return std::min(static_cast<size_t>(options().beam), most_done_ - done_.size());
}

Need BeamSearch::need() const {
  const bool forced = step_ < std::ssize(request_.prefix);
  return forced || options().repetition.penalty != 1 ? Need::logits : Need::top;
}

// A row offers the end at most once, so that one more than the width is always enough.
int BeamSearch::choices() const { return static_cast<int>(width()) + 1; }

std::vector<BeamSearch::Continuation> BeamSearch::continuations(const Answer& answer) const {
  const size_t kept = static_cast<size_t>(choices());
  std::vector<Continuation> list;
  std::vector<Choice> chosen(kept);
  for (size_t row = 0; row < live_.size(); ++row) {
    if (need() == Need::top) {
      const size_t width = static_cast<size_t>(answer.width);
      const auto offered = answer.choices.subspan(row * width, kept);
      chosen.assign(offered.begin(), offered.end());
    } else {
      const size_t width = answer.logits.size() / live_.size();
      const std::span<float> logits = answer.logits.subspan(row * width, width);
      if (options().repetition.penalty != 1) {
        penalise(logits, live_[row].tokens, options().repetition.penalty);
      }
      log_softmax(logits);
      if (step_ < std::ssize(request_.prefix)) {
        const int32_t token = request_.prefix[static_cast<size_t>(step_)];
        chosen.assign(1, {token, logits[static_cast<size_t>(token)]});
      } else {
        best_of(logits, chosen);
      }
    }
    for (const Choice& choice : chosen) {
      if (choice.token < 0) break;
      list.push_back({row, choice, live_[row].log_probability + double{choice.log_probability}});
    }
  }
  std::stable_sort(list.begin(), list.end(),
                   [](const Continuation& a, const Continuation& b) { return a.total > b.total; });
  return list;
}

void BeamSearch::complete(Hypothesis hypothesis) {
  const auto length =
      static_cast<double>(std::ssize(hypothesis.tokens) + (hypothesis.ended ? 1 : 0));
  hypothesis.score =
      hypothesis.log_probability / std::pow(std::max(length, 1.0), options().length_penalty);
  done_.push_back(std::move(hypothesis));
}

void BeamSearch::move_slots(const std::vector<size_t>& parents) {
  // A child takes its parent's slot where it can: then nothing is copied.
  std::vector<int> slots(parents.size(), -1), parent_slots(parents.size());
  std::vector<bool> taken(slots_.size(), false);
  for (size_t i = 0; i < parents.size(); ++i) {
    parent_slots[i] = slots_[parents[i]];
    if (!taken[parents[i]]) slots[i] = parent_slots[i];
    taken[parents[i]] = true;
  }
  for (size_t row = 0; row < slots_.size(); ++row) {
    if (!taken[row]) spare_.push_back(slots_[row]);
  }
  for (int& slot : slots) {
    if (slot >= 0) continue;
    slot = spare_.back();
    spare_.pop_back();
  }
  engine_.reorder(slots, parent_slots);
  slots_ = std::move(slots);
  // What the narrower beam cannot use any more is of use to others.
  while (slots_.size() + spare_.size() > width()) {
    engine_.release(spare_.back());
    spare_.pop_back();
  }
}

bool BeamSearch::advance(const Answer& answer) {
  const std::vector<Continuation> list = continuations(answer);
  const size_t may_end = width();  // ranks in which the end counts
  ++step_;
  std::vector<Hypothesis> next;
  std::vector<size_t> parents;
  for (size_t rank = 0; rank < list.size(); ++rank) {
    const auto& [row, choice, total] = list[rank];
    const bool ends = choice.token == engine_.end();
    if (ends ? rank >= may_end : next.size() >= width()) continue;
    Hypothesis hypothesis = live_[row];
    hypothesis.log_probability = total;
    if (options().scores) hypothesis.token_scores.push_back(choice.log_probability);
    align(answer.first_row + static_cast<int>(row), hypothesis.alignment);
    if (ends) {
      hypothesis.ended = true;
      complete(std::move(hypothesis));
      continue;
    }
    hypothesis.tokens.push_back(choice.token);
    next.push_back(std::move(hypothesis));
    parents.push_back(row);
  }
  // An end that came after may have made the beam narrower than what was kept before it.
  if (next.size() > width()) {
    next.resize(width());
    parents.resize(width());
  }
  if (next.empty() || step_ >= limit_) {
    for (Hypothesis& hypothesis : next) complete(std::move(hypothesis));
    abandon();
    return true;
  }
  move_slots(parents);
  live_ = std::move(next);
  previous_.clear();
  banned_.resize(live_.size());
  for (size_t row = 0; row < live_.size(); ++row) {
    previous_.push_back(live_[row].tokens.back());
    ban(live_[row].tokens, banned_[row]);
  }
  return false;
}

void BeamSearch::abandon() {
  Search::abandon();
  for (const int slot : spare_) engine_.release(slot);
  spare_.clear();
}

std::vector<Hypothesis> BeamSearch::finish() {
  std::stable_sort(done_.begin(), done_.end(),
                   [](const Hypothesis& a, const Hypothesis& b) { return a.score > b.score; });
  if (done_.size() > static_cast<size_t>(options().n_best)) {
    done_.resize(static_cast<size_t>(options().n_best));
  }
  return std::move(done_);
}

}  // namespace heddle::decode
