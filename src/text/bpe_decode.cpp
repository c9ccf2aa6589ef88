#include "heddle/text/bpe_decode.h"

#include <algorithm>

#include "heddle/base/error.h"
#include "heddle/text/bpe_bytes.h"
#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

constexpr size_t kMaxDecoded = size_t{1} << 20;  // bytes of one piece on its way through the steps

/// The byte of "<0x41>", with the liberties of the reference ("<0xaf>", "<0x+f>"); -1: another
/// piece.
int byte_of_fallback(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return -1;
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
  };
  const int high = piece[3] == '+' ? 0 : digit(piece[3]), low = digit(piece[4]);
  return high < 0 || low < 0 ? -1 : high * 16 + low;
}

std::string replaced(std::string_view piece, std::string_view content, std::string_view other) {
  std::string text;
  append_replaced(text, piece, content, other);
  HEDDLE_CHECK(text.size() <= kMaxDecoded, "tokenizer: found a decoder that makes ", text.size(),
               " bytes of one piece; expected at most ", kMaxDecoded);
  return text;
}

/// A whole piece without what is stripped off its ends.
std::string_view stripped_piece(std::string_view piece, const DecodeStep& step) {
  const std::string_view content = step.content;
  for (size_t i = 0; i < step.start && piece.starts_with(content); ++i) {
    piece.remove_prefix(content.size());
  }
  for (size_t i = 0; i < step.stop && piece.ends_with(content); ++i) {
    piece.remove_suffix(content.size());
  }
  return piece;
}

/// Of a piece that comes in parts, only the front is stripped.
std::string_view stripped_part(std::string_view part, const DecodeStep& step,
                               DecodeProgress& progress) {
  while (!progress.strip_ended && !part.empty()) {
    if (progress.stripped == step.start || !part.starts_with(step.content)) {
      progress.strip_ended = true;
    } else {
      part.remove_prefix(step.content.size());
      ++progress.stripped;
    }
  }
  return part;
}

/// How many bytes at the head are decided: all but the beginning of a character at the end.
size_t decided_bytes(std::string_view bytes) {
  for (size_t back = std::min<size_t>(3, bytes.size()); back > 0; --back) {
    const size_t at = bytes.size() - back;
    const auto lead = static_cast<unsigned char>(bytes[at]);
    if (lead < 0xC2 || lead > 0xF4) continue;
    const size_t length = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    const CodePoint point = decode_utf8(bytes, at);
    const bool is_open = !point.valid && static_cast<size_t>(point.bytes) == back && back < length;
    if (is_open) return at;
  }
  return bytes.size();
}

bool joins(DecodeStep::Kind kind) {
  return kind == DecodeStep::Kind::byte_level || kind == DecodeStep::Kind::fuse;
}

}  // namespace

void BpeDecoder::feed(size_t step, std::string_view piece, Progress& progress,
                      std::string& text) const {
  if (step == steps.size()) {
    text += piece;
    return;
  }
  const DecodeStep& now = steps[step];
  DecodeProgress& state = progress[step];
  const bool is_first = !state.has_begun;
  state.has_begun = true;
  switch (now.kind) {
    case DecodeStep::Kind::byte_level: {
      std::string bytes;
      if (!append_bytes_of(bytes, piece)) bytes = piece;
      return take_bytes(step, bytes, progress, text);
    }
    case DecodeStep::Kind::byte_fallback:
      if (const int byte = byte_of_fallback(piece); byte >= 0) {
        state.bytes += static_cast<char>(byte);
        return;
      }
      end_run(step, progress, text);
      return feed(step + 1, piece, progress, text);
    case DecodeStep::Kind::replace:
      return feed(step + 1, replaced(piece, now.content, now.other), progress, text);
    case DecodeStep::Kind::metaspace:
      return feed(step + 1, replaced(piece, now.content, is_first && now.strips ? "" : " "),
                  progress, text);
    case DecodeStep::Kind::fuse:
      return feed(step + 1, piece, progress, text);
    case DecodeStep::Kind::strip: {
      const bool in_parts = std::any_of(steps.begin(), steps.begin() + static_cast<ptrdiff_t>(step),
                                        [](const DecodeStep& s) { return joins(s.kind); });
      return feed(step + 1,
                  in_parts ? stripped_part(piece, now, state) : stripped_piece(piece, now),
                  progress, text);
    }
    case DecodeStep::Kind::space_between:
      if (!is_first) text += ' ';
      return feed(step + 1, piece, progress, text);
  }
}

void BpeDecoder::feed_bytes(std::string_view bytes, Progress& progress, std::string& text) const {
  take_bytes(0, bytes, progress, text);
}

void BpeDecoder::take_bytes(size_t step, std::string_view bytes, Progress& progress,
                            std::string& text) const {
  std::string& waiting = progress[step].bytes;
  waiting += bytes;
  const size_t length = decided_bytes(waiting);
  if (length == 0) return;
  std::string repaired;
  append_repaired(repaired, std::string_view(waiting).substr(0, length));
  waiting.erase(0, length);
  feed(step + 1, repaired, progress, text);
}

/// Of byte_fallback: the bytes so far are all of their run.
void BpeDecoder::end_run(size_t step, Progress& progress, std::string& text) const {
  std::string bytes;
  std::swap(bytes, progress[step].bytes);
  if (bytes.empty()) return;
  if (is_valid_utf8(bytes)) {
    feed(step + 1, bytes, progress, text);
    return;
  }
  for (size_t i = 0; i < bytes.size(); ++i) feed(step + 1, kReplacementUtf8, progress, text);
}

void BpeDecoder::finish(Progress& progress, std::string& text) const {
  for (size_t step = 0; step < steps.size(); ++step) {
    if (steps[step].kind == DecodeStep::Kind::byte_fallback) end_run(step, progress, text);
    if (steps[step].kind == DecodeStep::Kind::byte_level && !progress[step].bytes.empty()) {
      std::string repaired;
      append_repaired(repaired, progress[step].bytes);
      feed(step + 1, repaired, progress, text);
    }
  }
  progress = begin();
}

}  // namespace heddle::text
