#include "heddle/decode/ensemble.h"

#include <algorithm>

#include "heddle/base/error.h"
#include "heddle/decode/choose.h"

namespace heddle::decode {

Ensemble::Ensemble(std::vector<std::unique_ptr<Engine>> members) : members_(std::move(members)) {
  HEDDLE_CHECK(!members_.empty(), "ensemble: no models; expected one or more");
  for (const auto& member : members_) {
    HEDDLE_CHECK(member->vocabulary() == vocabulary() && member->end() == end(),
                 "ensemble: one model has a vocabulary of ", member->vocabulary(),
                 " and ends with ", member->end(), ", the first ", vocabulary(), " and ", end(),
                 "; expected models that were trained with one vocabulary");
  }
  slots_.resize(static_cast<size_t>(rows()));
  for (int slot = rows(); slot-- > 0;) free_.push_back(slot);
}

int64_t Ensemble::max_positions() const {
  int64_t least = 0;
  for (const auto& member : members_) {
    const int64_t positions = member->max_positions();
    if (positions > 0) least = least == 0 ? positions : std::min(least, positions);
  }
  return least;
}

int Ensemble::rows() const {
  int least = members_[0]->rows();
  for (const auto& member : members_) least = std::min(least, member->rows());
  return least;
}

int64_t Ensemble::source_tokens() const {
  int64_t least = members_[0]->source_tokens();
  for (const auto& member : members_) least = std::min(least, member->source_tokens());
  return least;
}

std::optional<int> Ensemble::keep(std::vector<std::optional<int>> slots) {
  const bool all = !free_.empty() && std::all_of(slots.begin(), slots.end(),
                                                 [](const auto& slot) { return slot.has_value(); });
  if (!all) {
    for (size_t m = 0; m < slots.size(); ++m) {
      if (slots[m]) members_[m]->release(*slots[m]);
    }
    return std::nullopt;
  }
  const int ours = free_.back();
  free_.pop_back();
  for (const auto& slot : slots) slots_[static_cast<size_t>(ours)].push_back(*slot);
  return ours;
}

std::vector<int> Ensemble::slots_of(size_t member, std::span<const int> slots) const {
  std::vector<int> theirs;
  for (const int slot : slots) theirs.push_back(slots_[static_cast<size_t>(slot)][member]);
  return theirs;
}

// Members may start differently: one with the zero vector, another with its pad token.
std::vector<int32_t> Ensemble::previous_of(size_t member, const Step& step) const {
  std::vector<int32_t> previous(step.previous.begin(), step.previous.end());
  if (members_[member]->start() != start()) {
    std::replace(previous.begin(), previous.end(), start(), members_[member]->start());
  }
  return previous;
}

std::optional<int> Ensemble::admit(int64_t source_length, int64_t target_limit) {
  std::vector<std::optional<int>> slots;
  for (const auto& member : members_) slots.push_back(member->admit(source_length, target_limit));
  return keep(std::move(slots));
}

std::optional<int> Ensemble::fork(int slot) {
  std::vector<std::optional<int>> slots;
  for (size_t m = 0; m < members_.size(); ++m) {
    slots.push_back(members_[m]->fork(slots_[static_cast<size_t>(slot)][m]));
  }
  return keep(std::move(slots));
}

void Ensemble::reorder(std::span<const int> slots, std::span<const int> parents) {
  for (size_t m = 0; m < members_.size(); ++m) {
    members_[m]->reorder(slots_of(m, slots), slots_of(m, parents));
  }
}

void Ensemble::release(int slot) {
  std::vector<int>& theirs = slots_[static_cast<size_t>(slot)];
  for (size_t m = 0; m < theirs.size(); ++m) members_[m]->release(theirs[m]);
  theirs.clear();
  free_.push_back(slot);
}

void Ensemble::encode(std::span<const int32_t> tokens, std::span<const int32_t> offsets,
                      std::span<const int> slots) {
  for (size_t m = 0; m < members_.size(); ++m) {
    members_[m]->encode(tokens, offsets, slots_of(m, slots));
  }
}

void Ensemble::advance(const Step& step) {
  for (size_t m = 0; m < members_.size(); ++m) {
    const std::vector<int> slots = slots_of(m, step.slots);
    const std::vector<int32_t> previous = previous_of(m, step);
    members_[m]->advance({.slots = slots, .previous = previous});
  }
}

void Ensemble::best(const Step& step, std::span<int32_t> tokens) {
  std::vector<Choice> choices(tokens.size());
  top(step, 1, choices);
  std::transform(choices.begin(), choices.end(), tokens.begin(),
                 [](const Choice& choice) { return choice.token; });
}

void Ensemble::top(const Step& step, int k, std::span<Choice> choices) {
  const size_t width = static_cast<size_t>(vocabulary()), kept = static_cast<size_t>(k);
  std::vector<float> mean(step.slots.size() * width);  // [R, V]
  logits(step, mean);
  for (size_t r = 0; r < step.slots.size(); ++r) {
    const std::span<float> row = std::span(mean).subspan(r * width, width);
    log_softmax(row);
    best_of(row, choices.subspan(r * kept, kept));
  }
}

void Ensemble::logits(const Step& step, std::span<float> values) {
  const size_t width = static_cast<size_t>(vocabulary());
  std::vector<float> theirs(values.size());  // [R, V]
  std::fill(values.begin(), values.end(), 0.0f);
  for (size_t m = 0; m < members_.size(); ++m) {
    const std::vector<int> slots = slots_of(m, step.slots);
    const std::vector<int32_t> previous = previous_of(m, step);
    members_[m]->logits({slots, previous, step.candidates, step.banned}, theirs);
    for (size_t r = 0; r < slots.size(); ++r) {
      log_softmax(std::span(theirs).subspan(r * width, width));
    }
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] += theirs[i] / static_cast<float>(members_.size());
    }
  }
}

void Ensemble::keep_alignments(bool keep) {
  for (const auto& member : members_) member->keep_alignments(keep);
}

std::span<const float> Ensemble::alignment(int row) const {
  alignment_.clear();
  for (const auto& member : members_) {
    const std::span<const float> theirs = member->alignment(row);
    alignment_.resize(theirs.size(), 0.0f);
    for (size_t i = 0; i < theirs.size(); ++i) {
      alignment_[i] += theirs[i] / static_cast<float>(members_.size());
    }
  }
  return alignment_;
}

}  // namespace heddle::decode
