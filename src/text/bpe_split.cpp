#include "heddle/text/bpe_split.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <utility>

#include "heddle/text/bpe_bytes.h"
#include "heddle/text/bpe_normalize.h"
#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

bool is_ascii_punctuation(char32_t value) {
  return (value > 0x20 && value < 0x30) || (value > 0x39 && value < 0x41) ||
         (value > 0x5A && value < 0x61) || (value > 0x7A && value < 0x7F);
}

/// As the reference has it, whose table is that of Unicode 8.
bool is_punctuation(char32_t value) {
  constexpr char32_t kChiSign = 0x166D, kSandhiMark = 0x111C9;  // others since Unicode 11, 12
  if (is_ascii_punctuation(value) || value == kChiSign || value == kSandhiMark) return true;
  const auto point = static_cast<UChar32>(value);
  if ((U_GET_GC_MASK(point) & U_GC_P_MASK) == 0) return false;
  UVersionInfo age;
  u_charAge(point, age);
  return age[0] <= 8;
}

bool is_in(CharClass chars, char32_t value) {
  const auto point = static_cast<UChar32>(value);
  switch (chars) {
    case CharClass::none:
      return false;
    case CharClass::number:
      return (U_GET_GC_MASK(point) & U_GC_N_MASK) != 0;
    case CharClass::punctuation:
      return is_punctuation(value);
    case CharClass::white_space:
      return u_isUWhiteSpace(point) != 0;
  }
  return false;
}

void find_chars(CharClass chars, std::string_view text, std::vector<Span>& matches) {
  matches.clear();
  for (size_t i = 0; i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    const size_t end = i + static_cast<size_t>(point.bytes);
    if (is_in(chars, point.value)) matches.push_back({i, end});
    i = end;
  }
}

/// Puts parts together to words, and words behind those that are there already. Parts that match
/// and parts between them come in their order; all of `offset` later than they say.
class WordMaker {
 public:
  WordMaker(const SplitStep& step, size_t offset, std::vector<Span>& words)
      : step_(step), offset_(offset), words_(words), first_(words.size()) {}

  void take(size_t begin, size_t end, bool is_match) {
    const bool matches = is_match != step_.invert;
    const bool had_part = has_part_;
    const bool matched = had_part && matched_;
    has_part_ = true;
    matched_ = matches;
    switch (step_.behavior) {
      case SplitBehavior::removed:
        if (!matches) add(begin, end);
        break;
      case SplitBehavior::isolated:
        add(begin, end);
        break;
      case SplitBehavior::contiguous:
        // The reference begins as if a part without a match had been before.
        matches == matched ? extend(begin, end) : add(begin, end);
        break;
      case SplitBehavior::merged_with_previous:
        matches && !matched ? extend(begin, end) : add(begin, end);
        break;
      case SplitBehavior::merged_with_next:
        // Read from the back, a match joins what follows it unless that is a match too.
        had_part&& matched && !matches ? extend(begin, end) : add(begin, end);
        break;
    }
  }

  /// Words without a byte are left out.
  void finish() {
    const auto is_empty = [](const Span& word) { return word.begin == word.end; };
    const auto begin = words_.begin() + static_cast<ptrdiff_t>(first_);
    words_.erase(std::remove_if(begin, words_.end(), is_empty), words_.end());
  }

 private:
  void add(size_t begin, size_t end) { words_.push_back({offset_ + begin, offset_ + end}); }

  void extend(size_t begin, size_t end) {
    if (words_.size() == first_) {
      add(begin, end);
    } else {
      words_.back().end = offset_ + end;
    }
  }

  const SplitStep& step_;
  size_t offset_;
  std::vector<Span>& words_;
  size_t first_;
  bool has_part_ = false, matched_ = false;
};

void cut(const SplitStep& step, SplitText& split, PatternSearch& search, SplitScratch& scratch) {
  scratch.words.clear();
  for (const Span word : split.words) {
    const std::string_view text = split.text.substr(word.begin, word.end - word.begin);
    if (step.chars == CharClass::none) {
      search.find(text, scratch.matches);
    } else {
      find_chars(step.chars, text, scratch.matches);
    }
    WordMaker maker(step, word.begin, scratch.words);
    size_t at = 0;
    for (const Span match : scratch.matches) {
      if (at < match.begin) maker.take(at, match.begin, false);
      maker.take(match.begin, match.end, true);
      at = match.end;
    }
    if (at < text.size()) maker.take(at, text.size(), false);
    maker.finish();
  }
  const bool same_start = !split.words.empty() && !scratch.words.empty() &&
                          split.words[0].begin == scratch.words[0].begin;
  split.starts_whole = split.starts_whole && same_start;
  std::swap(split.words, scratch.words);
}

/// Steps that keep the words and change their text.
void rewrite(const SplitStep& step, SplitText& split, std::string& target) {
  target.clear();
  bool is_first = split.starts_whole;
  for (Span& word : split.words) {
    const std::string_view text = split.text.substr(word.begin, word.end - word.begin);
    word.begin = target.size();
    if (step.kind == SplitStep::Kind::replace) {
      append_replaced(target, text, " ", step.content);
    } else if (step.kind == SplitStep::Kind::byte_chars) {
      append_byte_chars(target, text);
    } else {
      const bool wanted = is_first || !step.only_first;
      if (wanted && !text.starts_with(step.content)) target += step.content;
      target += text;
    }
    is_first = false;
    word.end = target.size();
  }
  check_growth(split.text.size(), target.size());
  std::swap(split.storage, target);
  split.text = split.storage;
}

}  // namespace

SplitScratch BpeSplitter::make_scratch() const {
  SplitScratch scratch;
  scratch.searches.reserve(steps.size());
  for (const SplitStep& step : steps) scratch.searches.emplace_back(step.pattern);
  return scratch;
}

void BpeSplitter::apply(SplitText& split, SplitScratch& scratch) const {
  split.words.assign(1, {0, split.text.size()});
  for (size_t i = 0; i < steps.size(); ++i) {
    if (steps[i].kind == SplitStep::Kind::cut) {
      cut(steps[i], split, scratch.searches[i], scratch);
    } else {
      rewrite(steps[i], split, scratch.text);
    }
  }
}

}  // namespace heddle::text
