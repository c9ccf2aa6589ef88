#include "heddle/text/bpe_normalize.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>

#include <utility>

#include "heddle/base/error.h"

namespace heddle::text {

namespace {

icu::StringPiece piece_of(std::string_view text) {
  return {text.data(), static_cast<int32_t>(text.size())};
}

const icu::Normalizer2& normalizer_of(NormalForm form) {
  UErrorCode status = U_ZERO_ERROR;
  const icu::Normalizer2* found = nullptr;
  switch (form) {
    case NormalForm::nfc:
      found = icu::Normalizer2::getNFCInstance(status);
      break;
    case NormalForm::nfd:
      found = icu::Normalizer2::getNFDInstance(status);
      break;
    case NormalForm::nfkc:
      found = icu::Normalizer2::getNFKCInstance(status);
      break;
    case NormalForm::nfkd:
      found = icu::Normalizer2::getNFKDInstance(status);
      break;
  }
  HEDDLE_CHECK(U_SUCCESS(status) && found != nullptr,
               "tokenizer: ICU has no normal forms: ", u_errorName(status));
  return *found;
}

bool is_ascii(std::string_view text) {
  unsigned char all = 0;
  for (const char c : text) all |= static_cast<unsigned char>(c);
  return all < 0x80;
}

/// False: the text is in that form already.
bool to_form(NormalForm form, std::string_view text, std::string& target) {
  if (is_ascii(text)) return false;
  const icu::Normalizer2& normalizer = normalizer_of(form);
  UErrorCode status = U_ZERO_ERROR;
  if (normalizer.isNormalizedUTF8(piece_of(text), status) != 0 && U_SUCCESS(status)) return false;
  status = U_ZERO_ERROR;
  icu::StringByteSink<std::string> sink(&target);
  normalizer.normalizeUTF8(0, piece_of(text), sink, nullptr, status);
  HEDDLE_CHECK(U_SUCCESS(status), "tokenizer: cannot normalise a text of ", text.size(),
               " bytes: ", u_errorName(status));
  return true;
}

bool replace_all(const NormalizeStep& step, std::string_view text, std::string& target) {
  std::vector<Span> matches;
  PatternSearch(step.pattern).find(text, matches);
  if (matches.empty()) return false;
  size_t at = 0, removed = 0;
  for (const Span match : matches) removed += match.end - match.begin;
  const size_t length = text.size() - removed + matches.size() * step.content.size();
  check_growth(text.size(), length);
  target.reserve(length);
  for (const Span match : matches) {
    target += text.substr(at, match.begin - at);
    target += step.content;
    at = match.end;
  }
  target += text.substr(at);
  return true;
}

/// Whether the step changes the text; then the new one is in `target`, which is empty before.
bool apply_step(const NormalizeStep& step, std::string_view text, std::string& target) {
  switch (step.kind) {
    case NormalizeStep::Kind::form:
      return to_form(step.form, text, target);
    case NormalizeStep::Kind::prepend:
      if (text.empty()) return false;
      target = step.content;
      target += text;
      return true;
    case NormalizeStep::Kind::replace:
      return replace_all(step, text, target);
  }
  return false;
}

}  // namespace

void check_growth(size_t before, size_t after) {
  constexpr size_t kAlways = size_t{1} << 16;
  HEDDLE_CHECK(after <= before * kMaxGrowth + kAlways, "tokenizer: found steps that make ", after,
               " bytes of a text of ", before, "; expected at most ", kMaxGrowth, " times as many");
}

std::string_view BpeNormalizer::apply(std::string_view text, std::string& storage) const {
  std::string_view now = text;
  std::string next;
  for (const NormalizeStep& step : steps) {
    next.clear();
    if (!apply_step(step, now, next)) continue;
    check_growth(text.size(), next.size());
    std::swap(storage, next);
    now = storage;
  }
  return now;
}

}  // namespace heddle::text
