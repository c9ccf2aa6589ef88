#include "heddle/model/answer_groups.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::model {

namespace {

/// Where an answer and the question before it are.
struct Place {
  int64_t question_begin, begin, end;
};

/// body(group, place) for each answer in order.
template <typename F>
void for_each_answer(std::span<const AnswerGroup> groups, const F& body) {
  int64_t at = 0;
  for (const AnswerGroup& group : groups) {
    int64_t question_begin = at;
    at += group.question;
    for (size_t i = 0; i < group.answers.size(); ++i) {
      if (i > 0 && !group.shared) {
        question_begin = at;
        at += group.question;
      }
      body(group, Place{question_begin, at, at + group.answers[i]});
      at += group.answers[i];
    }
  }
}

}  // namespace

int64_t AnswerGroup::tokens() const {
  const auto questions = shared ? int64_t{1} : std::ssize(answers);
  return std::accumulate(answers.begin(), answers.end(), questions * question);
}

int64_t AnswerGroup::longest() const {
  return question + (answers.empty() ? 0 : std::ranges::max(answers));
}

void check_groups(std::span<const AnswerGroup> groups, std::span<const int32_t> offsets,
                  const TransformerConfig& config) {
  HEDDLE_CHECK(config.is_language_model() && groups.size() + 1 == offsets.size(), "answers: found ",
               groups.size(), " groups for ", std::ssize(offsets) - 1,
               " texts; expected as many, and a language model");
  for (size_t s = 0; s < groups.size(); ++s) {
    const AnswerGroup& group = groups[s];
    const bool whole = group.question >= 1 && !group.answers.empty() &&
                       std::ranges::all_of(group.answers, [](int32_t each) { return each >= 1; });
    HEDDLE_CHECK(whole, "answers: found a question of ", group.question, " tokens with ",
                 group.answers.size(),
                 " answers; expected at least a token in each, and an answer");
    HEDDLE_CHECK(group.tokens() == offsets[s + 1] - offsets[s], "answers: group ", s, " has ",
                 group.tokens(), " tokens; expected ", offsets[s + 1] - offsets[s]);
    HEDDLE_CHECK(!group.shared || config.window == 0 || group.longest() <= config.window,
                 "answers: a shared question with an answer has ", group.longest(),
                 " tokens; expected at most the window, ", config.window);
  }
}

ColumnMask mask_of(std::span<const AnswerGroup> groups, int64_t window) {
  MaskParts parts{.causal = true};
  std::vector<int32_t>& lts = parts.lts;  // [T]
  const auto add = [&](int64_t keys, int64_t end, bool slides) {
    for (int64_t i = 0; i < keys; ++i) {
      const int64_t past = slides ? std::min(end, std::ssize(lts) + window) : end;
      lts.push_back(static_cast<int32_t>(past));
    }
  };
  for (const AnswerGroup& group : groups) {
    if (group.shared) add(group.question, std::ssize(lts) + group.tokens(), false);
    for (const int32_t answer : group.answers) {
      const int64_t text = answer + (group.shared ? 0 : group.question);
      add(text, std::ssize(lts) + text, window > 0 && !group.shared);
    }
  }
  parts.query_length = parts.key_length = std::ssize(lts);
  return ColumnMask(parts);
}

void write_positions(std::span<const AnswerGroup> groups, std::span<int32_t> positions) {
  for_each_answer(groups, [&](const AnswerGroup& group, const Place& place) {
    for (int64_t t = 0; t < group.question; ++t) {
      positions[static_cast<size_t>(place.question_begin + t)] = static_cast<int32_t>(t);
    }
    for (int64_t t = place.begin; t < place.end; ++t) {
      positions[static_cast<size_t>(t)] = static_cast<int32_t>(group.question + t - place.begin);
    }
  });
}

AnswerRows::AnswerRows(std::span<const AnswerGroup> groups, std::span<const int32_t> tokens,
                       std::span<const int32_t> labels, Of of)
    : all_(std::ssize(tokens)), offsets_{0} {
  for_each_answer(groups, [&](const AnswerGroup& group, const Place& place) {
    if (of == Of::last_tokens) {
      places_.push_back(place.end - 1);
    } else {
      places_.push_back(place.question_begin + group.question - 1);
      labels_.push_back(tokens[static_cast<size_t>(place.begin)]);
      for (int64_t t = place.begin; t + 1 < place.end; ++t) {
        if (labels[static_cast<size_t>(t)] < 0) continue;
        places_.push_back(t);
        labels_.push_back(labels[static_cast<size_t>(t)]);
      }
    }
    offsets_.push_back(count());
  });
}

ops::Rows AnswerRows::gathered(const ops::Rows& hidden, ops::Workspace& workspace) const {
  ops::Rows rows(count(), hidden.width(), workspace);  // [L, D]
  for (int64_t i = 0; i < count(); ++i) {
    std::copy_n(hidden.row(places_[static_cast<size_t>(i)]), hidden.width(), rows.row(i));
  }
  return rows;
}

void AnswerRows::scatter(ops::PlainRows from, int64_t width, ops::PlainRows to) const {
  for (int64_t t = 0; t < all_; ++t) std::fill_n(to.row(t), width, 0.0f);
  for (int64_t i = 0; i < count(); ++i) {
    float* row = to.row(places_[static_cast<size_t>(i)]);
    const float* add = from.row(i);
    for (int64_t k = 0; k < width; ++k) row[k] += add[k];
  }
}

}  // namespace heddle::model
