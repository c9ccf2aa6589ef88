#include "heddle/decode/beam.h"

#include <algorithm>
#include <cmath>
#include <limits>

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

void BeamSearch::choose_from_logits(const Answer& answer, size_t row) {
  const size_t width = answer.logits.size() / live_.size();
  const std::span<float> logits = answer.logits.subspan(row * width, width);
  if (options().repetition.penalty != 1) {
    tokens_of(live_[row], tokens_);
    penalise(logits, tokens_, options().repetition.penalty);
  }
  log_softmax(logits);
  if (step_ < std::ssize(request_.prefix)) {
    const int32_t token = request_.prefix[static_cast<size_t>(step_)];
    chosen_.assign(1, {token, logits[static_cast<size_t>(token)]});
  } else {
    chosen_.resize(static_cast<size_t>(choices()));
    best_of(logits, chosen_);
  }
}

void BeamSearch::find_continuations(const Answer& answer) {
  ways_.clear();
  const Need asked = need();
  for (size_t row = 0; row < live_.size(); ++row) {
    std::span<const Choice> offered;
    if (asked == Need::top) {
      const size_t width = static_cast<size_t>(answer.width);
      offered = answer.choices.subspan(row * width, static_cast<size_t>(choices()));
    } else {
      choose_from_logits(answer, row);
      offered = chosen_;
    }
    for (const Choice& choice : offered) {
      if (choice.token < 0) break;
      const double total = live_[row].log_probability + double{choice.log_probability};
      const double rank = std::isnan(total) ? -std::numeric_limits<double>::infinity() : total;
      ways_.push_back({row, choice, rank, ways_.size()});
    }
  }
  std::sort(ways_.begin(), ways_.end(), [](const Continuation& a, const Continuation& b) {
    return a.total > b.total || (a.total == b.total && a.order < b.order);
  });
}

void BeamSearch::tokens_of(const Live& live, std::vector<int32_t>& tokens) const {
  tokens.clear();
  for (int32_t node = live.last; node >= 0; node = nodes_[static_cast<size_t>(node)].before) {
    tokens.push_back(nodes_[static_cast<size_t>(node)].token);
  }
  std::reverse(tokens.begin(), tokens.end());
}

void BeamSearch::complete(Live live, std::optional<float> end) {
  Hypothesis hypothesis{.tokens = {},
                        .log_probability = live.log_probability,
                        .token_scores = {},
                        .alignment = std::move(live.alignment),
                        .ended = end.has_value()};
  tokens_of(live, hypothesis.tokens);
  if (options().scores) {
    if (end) hypothesis.token_scores.push_back(*end);
    for (int32_t node = live.last; node >= 0; node = nodes_[static_cast<size_t>(node)].before) {
      hypothesis.token_scores.push_back(nodes_[static_cast<size_t>(node)].log_probability);
    }
    std::reverse(hypothesis.token_scores.begin(), hypothesis.token_scores.end());
  }
  const auto length =
      static_cast<double>(std::ssize(hypothesis.tokens) + (hypothesis.ended ? 1 : 0));
  hypothesis.score =
      hypothesis.log_probability / std::pow(std::max(length, 1.0), options().length_penalty);
  done_.push_back(std::move(hypothesis));
}

void BeamSearch::move_slots() {
  // A child takes its parent's slot where it can: then nothing is copied.
  next_slots_.assign(parents_.size(), -1);
  parent_slots_.resize(parents_.size());
  taken_.assign(slots_.size(), 0);
  for (size_t i = 0; i < parents_.size(); ++i) {
    parent_slots_[i] = slots_[parents_[i]];
    if (taken_[parents_[i]] == 0) next_slots_[i] = parent_slots_[i];
    taken_[parents_[i]] = 1;
  }
  for (size_t row = 0; row < slots_.size(); ++row) {
    if (taken_[row] == 0) spare_.push_back(slots_[row]);
  }
  for (int& slot : next_slots_) {
    if (slot >= 0) continue;
    slot = spare_.back();
    spare_.pop_back();
  }
  engine_.reorder(next_slots_, parent_slots_);
  slots_.swap(next_slots_);
  // What the narrower beam cannot use any more is of use to others.
  while (slots_.size() + spare_.size() > width()) {
    engine_.release(spare_.back());
    spare_.pop_back();
  }
}

bool BeamSearch::advance(const Answer& answer) {
  find_continuations(answer);
  const size_t may_end = width();  // ranks in which the end counts
  ++step_;
  next_.clear();
  parents_.clear();
  for (size_t rank = 0; rank < ways_.size(); ++rank) {
    const auto& [row, choice, total, order] = ways_[rank];
    const bool ends = choice.token == engine_.end();
    if (ends ? rank >= may_end : next_.size() >= width()) continue;
    Live way{live_[row].last, total, live_[row].alignment};
    align(answer.first_row + static_cast<int>(row), way.alignment);
    if (ends) {
      complete(std::move(way), choice.log_probability);
      continue;
    }
    nodes_.push_back({way.last, choice.token, choice.log_probability});
    way.last = static_cast<int32_t>(nodes_.size()) - 1;
    next_.push_back(std::move(way));
    parents_.push_back(row);
  }
  // An end that came after may have made the beam narrower than what was kept before it.
  if (next_.size() > width()) {
    next_.resize(width());
    parents_.resize(width());
  }
  if (next_.empty() || step_ >= limit_) {
    for (Live& live : next_) complete(std::move(live), std::nullopt);
    abandon();
    return true;
  }
  move_slots();
  live_.swap(next_);
  prepare_step();
  return false;
}

void BeamSearch::prepare_step() {
  previous_.clear();
  banned_.resize(live_.size());
  for (size_t row = 0; row < live_.size(); ++row) {
    previous_.push_back(nodes_[static_cast<size_t>(live_[row].last)].token);
    if (!bans()) continue;
    tokens_of(live_[row], tokens_);
    ban(tokens_, banned_[row]);
  }
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
