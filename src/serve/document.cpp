#include "heddle/serve/document.h"

#include <algorithm>

namespace heddle::serve {

Document::Document(const std::vector<std::string>& texts) {
  for (size_t t = 0; t < texts.size(); ++t) {
    first_places_.push_back(places_.size());
    const std::string& text = texts[t];
    size_t begin = 0;
    for (size_t number = 0; begin <= text.size(); ++number) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      std::string line = text.substr(begin, end - begin);
      if (line.ends_with('\r')) line.pop_back();
      begin = end + 1;
      places_.push_back({t, number, line.empty(), {}});
      if (line.empty()) {
        ++done_;
      } else {
        place_of_line_.push_back(places_.size() - 1);
        lines_.push_back(std::move(line));
      }
    }
  }
  first_places_.push_back(places_.size());
}

void Document::put(size_t line, decode::Translation&& translation) {
  Slot& slot = places_[place_of_line_[line]];
  slot.translation = std::move(translation);
  slot.done = true;
  ++done_;
}

Document::Place Document::place(size_t index) const {
  const Slot& slot = places_[index];
  return {slot.text, slot.line, slot.done ? &slot.translation : nullptr};
}

size_t Document::variants(size_t text) const {
  size_t most = 0;
  for (size_t i = first_places_[text]; i < first_places_[text + 1]; ++i) {
    most = std::max(most, places_[i].translation.variants.size());
  }
  return most;
}

Document::Variant Document::joined(size_t text, size_t rank) const {
  Variant whole;
  for (size_t i = first_places_[text]; i < first_places_[text + 1]; ++i) {
    if (i > first_places_[text]) whole.text += '\n';
    const decode::Translation& translation = places_[i].translation;
    if (translation.variants.empty()) {
      whole.text += translation.text;
      continue;
    }
    // A line may have fewer variants than others.
    const size_t last = translation.variants.size() - 1;
    const decode::Variant& variant = translation.variants[std::min(rank, last)];
    whole.text += variant.text;
    whole.score += variant.score;
  }
  return whole;
}

}  // namespace heddle::serve
