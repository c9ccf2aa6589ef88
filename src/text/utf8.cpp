#include "heddle/text/utf8.h"

#include <unicode/uchar.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

namespace heddle::text {

namespace {

uint8_t byte_at(std::string_view text, size_t offset) { return static_cast<uint8_t>(text[offset]); }

/// How a sequence begins: its length, and the range of the second byte (which alone keeps out
/// overlong forms, surrogates and what lies above U+10FFFF).
struct Lead {
  int bytes;
  uint8_t lowest, highest;
};

Lead lead_of(uint8_t byte) {
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

/// The number of leading ASCII bytes, counted eight at a time.
size_t ascii_prefix(std::string_view text) {
  size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + i, 8);
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (i < text.size() && byte_at(text, i) < 0x80) ++i;
  return i;
}

}  // namespace

CodePoint decode_utf8(std::string_view text, size_t offset) {
  const uint8_t first = byte_at(text, offset);
  if (first < 0x80) return {first, 1, true};
  const Lead lead = lead_of(first);
  if (lead.bytes == 0) return {kReplacement, 1, false};
  char32_t value = first & (0xFFu >> (lead.bytes + 1));
  for (int i = 1; i < lead.bytes; ++i) {
    const size_t at = offset + static_cast<size_t>(i);
    if (at >= text.size()) return {kReplacement, i, false};
    const uint8_t byte = byte_at(text, at);
    const uint8_t lowest = i == 1 ? lead.lowest : 0x80;
    const uint8_t highest = i == 1 ? lead.highest : 0xBF;
    if (byte < lowest || byte > highest) return {kReplacement, i, false};
    value = value << 6 | (byte & 0x3Fu);
  }
  return {value, lead.bytes, true};
}

CodePoint last_code_point(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return decode_utf8(text, at);
}

bool is_space(char32_t value) { return u_isUWhiteSpace(static_cast<UChar32>(value)) != 0; }

void append_replaced(std::string& target, std::string_view text, std::string_view part,
                     std::string_view other) {
  for (size_t at = 0; at < text.size();) {
    const size_t found = std::min(text.find(part, at), text.size());
    target += text.substr(at, found - at);
    if (found < text.size()) target += other;
    at = found + part.size();
  }
}

void append_utf8(std::string& text, char32_t value) {
  const auto tail = [&](int shift) { text += static_cast<char>(0x80 | (value >> shift & 0x3F)); };
  if (value < 0x80) {
    text += static_cast<char>(value);
  } else if (value < 0x800) {
    text += static_cast<char>(0xC0 | value >> 6);
    tail(0);
  } else if (value < 0x10000) {
    text += static_cast<char>(0xE0 | value >> 12);
    tail(6);
    tail(0);
  } else {
    text += static_cast<char>(0xF0 | value >> 18);
    tail(12);
    tail(6);
    tail(0);
  }
}

bool is_valid_utf8(std::string_view text) {
  for (size_t i = ascii_prefix(text); i < text.size();) {
    const CodePoint point = decode_utf8(text, i);
    if (!point.valid) return false;
    i += static_cast<size_t>(point.bytes);
    if (point.bytes == 1) i += ascii_prefix(text.substr(i));
  }
  return true;
}

size_t append_repaired(std::string& text, std::string_view bytes) {
  size_t faults = 0;
  for (size_t i = 0; i < bytes.size();) {
    const CodePoint point = decode_utf8(bytes, i);
    const auto length = static_cast<size_t>(point.bytes);
    text.append(point.valid ? bytes.substr(i, length) : kReplacementUtf8);
    faults += !point.valid;
    i += length;
  }
  return faults;
}

size_t count_code_points(std::string_view text) {
  size_t count = 0;
  for (size_t i = 0; i < text.size(); ++count) {
    i += static_cast<size_t>(decode_utf8(text, i).bytes);
  }
  return count;
}

}  // namespace heddle::text
