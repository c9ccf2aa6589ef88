#include "heddle/text/bpe_added.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <utility>

#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

bool is_word_character(char32_t value) {
  const auto point = static_cast<UChar32>(value);
  constexpr uint32_t kCategories = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return u_hasBinaryProperty(point, UCHAR_ALPHABETIC) != 0 ||
         (U_GET_GC_MASK(point) & kCategories) != 0 ||
         u_hasBinaryProperty(point, UCHAR_JOIN_CONTROL) != 0;
}

bool stands_alone(std::string_view text, Span range) {
  const std::string_view before = text.substr(0, range.begin), after = text.substr(range.end);
  return (before.empty() || !is_word_character(last_code_point(before).value)) &&
         (after.empty() || !is_word_character(decode_utf8(after, 0).value));
}

/// Where the white space begins that ends at `end`, no earlier than `begin`.
size_t spaces_before(std::string_view text, size_t begin, size_t end) {
  while (end > begin) {
    const CodePoint last = last_code_point(text.substr(0, end));
    if (!is_space(last.value)) break;
    end -= static_cast<size_t>(last.bytes);
  }
  return std::max(begin, end);
}

size_t spaces_behind(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    const CodePoint next = decode_utf8(text, begin);
    if (!is_space(next.value)) break;
    begin += static_cast<size_t>(next.bytes);
  }
  return begin;
}

uint8_t first_byte(std::string_view text) { return static_cast<uint8_t>(text[0]); }

}  // namespace

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.content.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  for (size_t i = 0; i < tokens_.size(); ++i) {
    Range& range = by_first_byte_[first_byte(tokens_[i].content)];
    if (range.end == 0) range.begin = i;
    range.end = i + 1;
  }
}

/// The longest token at the head of the text. Those that agree with the text so far are a range,
/// which each byte narrows; the shortest of them comes first.
const AddedToken* AddedTokens::longest_at(std::string_view text) const {
  Range range = by_first_byte_[first_byte(text)];
  const AddedToken* best = nullptr;
  for (size_t length = 1; range.begin < range.end; ++length) {
    if (tokens_[range.begin].content.size() == length) {
      best = &tokens_[range.begin];
      while (range.begin < range.end && tokens_[range.begin].content.size() == length) {
        ++range.begin;
      }
    }
    if (length == text.size()) break;
    const auto wanted = static_cast<uint8_t>(text[length]);
    const auto byte = [&](const AddedToken& token) {
      return static_cast<uint8_t>(token.content[length]);
    };
    const auto first = tokens_.begin();
    const auto begin = first + static_cast<ptrdiff_t>(range.begin);
    const auto end = first + static_cast<ptrdiff_t>(range.end);
    const auto low =
        std::partition_point(begin, end, [&](const auto& t) { return byte(t) < wanted; });
    const auto high =
        std::partition_point(low, end, [&](const auto& t) { return byte(t) == wanted; });
    range = {static_cast<size_t>(low - first), static_cast<size_t>(high - first)};
  }
  return best;
}

void AddedTokens::find(std::string_view text, bool allow_special, std::vector<Part>& parts) const {
  parts.clear();
  size_t done = 0;  // up to here, all is in a part
  for (size_t at = 0; !tokens_.empty() && at < text.size();) {
    const AddedToken* token = longest_at(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    Span range{at, at + token->content.size()};
    at = range.end;  // also when the token does not count
    if (token->special && !allow_special) continue;
    if (token->single_word && !stands_alone(text, range)) continue;
    // The reference takes what is found next from behind the text of the token, not from behind
    // the white space that goes with it.
    if (token->lstrip && range.begin > done) range.begin = spaces_before(text, done, range.begin);
    if (token->lstrip) range.begin = std::max(range.begin, done);
    if (token->rstrip) range.end = spaces_behind(text, std::max(range.end, done));
    if (done < range.begin) parts.push_back({{done, range.begin}, -1});
    parts.push_back({range, token->id});
    done = range.end;
  }
  if (done < text.size()) parts.push_back({{done, text.size()}, -1});
}

}  // namespace heddle::text
