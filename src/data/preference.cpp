#include "heddle/data/preference.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::data {

namespace {

bool is_list(const io::Field& field) { return field.value().list() != nullptr; }
bool is_text(const io::Field& field) { return field.value().text() != nullptr; }

std::vector<Turn> turns_of(const io::Field& list) {
  std::vector<Turn> turns;
  for (const io::Field& item : list.items()) turns.push_back(parse_turn(item));
  return turns;
}

/// A text, a message, or a list of messages.
std::vector<Turn> answer_of(const io::Field& field) {
  if (is_text(field)) return {{Role::assistant, field.text()}};
  std::vector<Turn> turns = is_list(field) ? turns_of(field) : std::vector{parse_turn(field)};
  if (turns.empty()) field.fail("an answer: a text, a message or messages");
  return turns;
}

/// One answer, or a list of them. A list of messages is one answer: its items have roles.
void add_answers(const io::Field& field, float score, Preference& found) {
  const auto is_message = [](const io::Field& item) { return !is_text(item) && !is_list(item); };
  if (is_list(field)) {
    const auto items = field.items();
    if (items.empty()) field.fail("at least one answer");
    if (!is_message(items.front())) {
      for (const io::Field& item : items) {
        found.answers.push_back(answer_of(item));
        found.scores.push_back(score);
      }
      return;
    }
  }
  found.answers.push_back(answer_of(field));
  found.scores.push_back(score);
}

/// Where there is no prompt: the turns that all answers begin with.
void split_prompt(const io::Field& object, Preference& found) {
  const std::vector<Turn>& first = found.answers.front();
  size_t common = first.size() - 1;  // an answer keeps its last turn
  for (const auto& answer : found.answers) {
    const auto end = std::mismatch(first.begin(), first.end(), answer.begin(), answer.end()).first;
    common = std::min({common, static_cast<size_t>(end - first.begin()), answer.size() - 1});
  }
  if (common == 0) object.fail("a prompt, or conversations that begin with the same turns");
  found.prompt.assign(first.begin(), first.begin() + static_cast<int64_t>(common));
  for (auto& answer : found.answers) {
    answer.erase(answer.begin(), answer.begin() + static_cast<int64_t>(common));
  }
}

float finite(const io::Field& field) {
  const double value = field.number();
  if (!(std::abs(value) <= 1e30)) field.fail("a finite number");
  return static_cast<float>(value);
}

void add_ranked(const io::Field& object, const io::Field& answers, bool needs_ranks,
                Preference& found) {
  for (const io::Field& item : answers.items()) found.answers.push_back(answer_of(item));
  const auto scores = object.find("scores"), ranks = object.find("ranks");
  if (!needs_ranks && !scores && !ranks) {
    found.scores.assign(found.answers.size(), 0);
    return;
  }
  if (scores.has_value() == ranks.has_value()) object.fail("either scores or ranks");
  const io::Field& numbers = scores ? *scores : *ranks;
  for (const io::Field& item : numbers.items()) {
    found.scores.push_back(scores ? finite(item) : -finite(item));
  }
  if (found.scores.size() != found.answers.size()) {
    numbers.fail(str("a list of ", found.answers.size(), ", as many as answers"));
  }
}

std::optional<io::Field> prompt_of(const io::Field& object) {
  for (const char* name : {"prompt", "messages", "conversations"}) {
    if (auto found = object.find(name)) return found;
  }
  return {};
}

bool has_text(const std::vector<Turn>& turns) {
  return std::any_of(turns.begin(), turns.end(),
                     [](const Turn& turn) { return !is_only_space(turn.text); });
}

}  // namespace

Preference parse_preference(const io::Field& object, bool needs_ranks) {
  for (const char* name : {"tools", "images", "videos", "audios"}) {
    const auto member = object.find(name);
    if (!member || (is_list(*member) && member->items().empty())) continue;
    throw UnsupportedContent(str(member->place(), ": found the member ", name,
                                 "; expected turns of text alone. Hint: on_bad_line=skip leaves "
                                 "such lines out and counts them"));
  }
  Preference found;
  auto answers = object.find("answers");
  if (!answers) answers = object.find("responses");
  if (answers) {
    add_ranked(object, *answers, needs_ranks, found);
  } else {
    add_answers(object["chosen"], 1, found);
    add_answers(object["rejected"], 0, found);
  }
  if (found.answers.size() > kMostAnswers) object.fail(str("at most ", kMostAnswers, " answers"));
  const auto prompt = prompt_of(object);
  if (!prompt) {
    if (found.answers.empty()) object.fail("a prompt and answers");
    split_prompt(object, found);
  } else if (is_list(*prompt)) {
    found.prompt = turns_of(*prompt);
  } else {
    found.prompt = {{Role::user, prompt->text()}};
    found.raw = true;
    for (const auto& answer : found.answers) found.raw = found.raw && answer.size() == 1;
    const auto text = [](const io::Field& field) {
      if (is_text(field)) return true;
      if (!is_list(field)) return false;
      const auto items = field.items();
      return std::all_of(items.begin(), items.end(), is_text);
    };
    const bool texts =
        answers ? text(*answers) : text(object["chosen"]) && text(object["rejected"]);
    if (!texts) prompt->fail("a list of messages beside answers that are messages");
  }
  if (const auto margin = object.find("margin")) found.margin = finite(*margin);
  const std::string system = object.text_or("system", "");
  if (!system.empty() && !found.raw && found.prompt.front().role != Role::system) {
    found.prompt.insert(found.prompt.begin(), {Role::system, system});
  }
  return found;
}

uint64_t pairs_of(const std::vector<float>& scores) {
  uint64_t pairs = 0;
  for (size_t i = 0; i < scores.size(); ++i) {
    for (size_t j = 0; j < i; ++j) pairs += scores[i] != scores[j] ? 1 : 0;
  }
  return pairs;
}

bool clean(Preference& preference, PreferenceCounts& counts) {
  if (!has_text(preference.prompt)) {
    ++counts.lines.empty;
    return false;
  }
  std::vector<std::vector<Turn>> answers;
  std::vector<float> scores;
  uint64_t empty = 0, equal = 0;
  for (size_t i = 0; i < preference.answers.size(); ++i) {
    std::vector<Turn>& answer = preference.answers[i];
    if (!has_text(answer)) {
      ++empty;
      continue;
    }
    const auto same = std::find(answers.begin(), answers.end(), answer);
    if (same == answers.end()) {
      answers.push_back(std::move(answer));
      scores.push_back(preference.scores[i]);
    } else if (scores[static_cast<size_t>(same - answers.begin())] == preference.scores[i]) {
      ++equal;
    } else {
      ++counts.contradictions;
      return false;
    }
  }
  const uint64_t pairs = pairs_of(scores);
  counts.empty_answers += empty;
  counts.equal_answers += equal;
  if (pairs == 0) {
    ++counts.no_pair;
    return false;
  }
  preference.answers = std::move(answers);
  preference.scores = std::move(scores);
  return true;
}

bool PreferenceReader::next(Preference& preference) {
  const auto parse = [&](const io::Field& object) { preference = parse_preference(object); };
  while (lines_.next(parse, counts_.lines)) {
    preference.line = lines_.line();
    for (Turn& turn : preference.prompt) counts_.lines.nul += replace_nul(turn.text);
    for (auto& answer : preference.answers) {
      for (Turn& turn : answer) counts_.lines.nul += replace_nul(turn.text);
    }
    if (!clean(preference, counts_)) continue;
    ++counts_.lines.kept;
    return true;
  }
  return false;
}

std::string PreferenceCounts::summary() const {
  std::string text = lines.summary();
  const auto say = [&text](uint64_t count, std::string_view what) {
    if (count > 0) text += str(", ", count, " ", what);
  };
  say(contradictions, "left out: one answer with two scores");
  say(no_pair, "left out without two answers of different scores");
  say(empty_answers, "answers left out without text");
  say(equal_answers, "answers left out as equal");
  say(answers, "answers");
  say(pairs, "pairs");
  say(repeated, "questions repeated before each answer");
  return text;
}

std::vector<std::string> PreferenceCounts::warnings() const {
  std::vector<std::string> found;
  if (lines.kept * 2 < lines.lines - lines.blank_lines) {
    found.push_back("more is left out than kept: " + summary());
  }
  if (lines.tokens.truncated * 10 > lines.kept) {
    found.push_back(str(lines.tokens.truncated, " of ", lines.kept,
                        " questions have answers that are cut at the longest length"));
  }
  return found;
}

}  // namespace heddle::data
