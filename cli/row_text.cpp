#include "cli/row_text.h"

#include <algorithm>
#include <span>
#include <string_view>

#include "cli/format.h"
#include "heddle/base/error.h"

namespace heddle::cli {

namespace {

constexpr std::string_view kDim = "\x1b[2m", kLearned = "\x1b[1;32m", kBorder = "\x1b[36m",
                           kReset = "\x1b[0m";

/// Text that cannot move the cursor or change colours: controls as \x1b, but tabs and line ends.
std::string harmless(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string safe;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    const bool is_long = byte == 0xC2 && i + 1 < text.size() &&
                         static_cast<unsigned char>(text[i + 1]) < 0xA0;  // U+0080 … U+009F
    if (is_long) ++i;
    const auto shown = static_cast<unsigned char>(text[i]);
    if (is_long || (byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7F) {
      safe += str("\\x", kDigits[shown / 16], kDigits[shown % 16]);
    } else {
      safe += text[i];
    }
  }
  return safe;
}

/// In this colour, which ends with each line: a pager shows lines alone.
std::string colored(std::string_view text, std::string_view color) {
  std::string made;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (end > 0) {
      for (const std::string_view part : {color, text.substr(0, end), kReset}) made += part;
    }
    if (end < text.size()) made += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return made;
}

std::string part_text(const std::string& text, bool learned, const RowTextOptions& options) {
  if (options.color) return colored(text, learned ? kLearned : kDim);
  return learned ? "\u27E6" + text + "\u27E7" : text;
}

/// Whether token `at` of the row is predicted by the one before it.
bool learned_at(const data::PackedRow& row, int32_t begin, int32_t at) {
  return at > begin && row.labels[static_cast<size_t>(at) - 1] != data::kNoLabel;
}

}  // namespace

std::string row_text(const data::PackedRow& row, const text::BpeTokenizer& tokenizer,
                     const std::vector<std::string>& names, const RowTextOptions& options) {
  const auto tokens = static_cast<int32_t>(row.tokens.size());
  const auto shown = static_cast<int32_t>(
      options.most_tokens > 0 ? std::min<int64_t>(options.most_tokens, tokens) : tokens);
  std::string text;
  for (size_t d = 0; d < names.size() && row.offsets[d] < shown; ++d) {
    const int32_t begin = row.offsets[d], end = std::min(row.offsets[d + 1], shown);
    int64_t learned = 0;
    for (int32_t i = begin; i < row.offsets[d + 1]; ++i) learned += learned_at(row, begin, i);
    const std::string border =
        str("\u2500\u2500 ", names[d], ": ", with_separators(row.offsets[d + 1] - begin),
            " tokens, ", with_separators(learned), " learned \u2500\u2500\n");
    text += options.color ? colored(border, kBorder) : border;
    for (int32_t i = begin; i < end;) {
      const bool learns = learned_at(row, begin, i);
      int32_t next = i + 1;
      while (next < end && learned_at(row, begin, next) == learns) ++next;
      const std::span<const int32_t> ids(&row.tokens[static_cast<size_t>(i)],
                                         static_cast<size_t>(next - i));
      text += part_text(harmless(tokenizer.decode(ids, false)), learns, options);
      i = next;
    }
    if (!text.ends_with('\n')) text += '\n';
  }
  if (shown < tokens) {
    text += str("\u2026 ", with_separators(tokens - shown), " more tokens (--most-tokens)\n");
  }
  return text;
}

}  // namespace heddle::cli
