#include "heddle/text/normalize.h"

#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

bool is_plain_ascii(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte >= 0x20 && byte < 0x7F) || byte == '\t';
}

bool is_control(char32_t value) {
  return (value < 0x20 && value != '\t') || (value >= 0x7F && value < 0xA0) || value == 0x2028 ||
         value == 0x2029;
}

constexpr char32_t kByteOrderMark = 0xFEFF;

/// Whether the code point stays as it is.
bool stays(const CodePoint& point) {
  return point.valid && !is_control(point.value) && point.value != kByteOrderMark;
}

/// Where the first code point stands that must change; the size when there is none.
size_t first_change(std::string_view line) {
  for (size_t i = 0; i < line.size();) {
    if (is_plain_ascii(line[i])) {
      ++i;
      continue;
    }
    const CodePoint point = decode_utf8(line, i);
    if (!stays(point)) return i;
    i += static_cast<size_t>(point.bytes);
  }
  return line.size();
}

}  // namespace

std::string_view normalize_line(std::string_view line, std::string& storage, LineFaults& faults) {
  const size_t start = first_change(line);
  if (start == line.size()) return line;
  storage.assign(line.substr(0, start));
  for (size_t i = start; i < line.size();) {
    const CodePoint point = decode_utf8(line, i);
    const auto length = static_cast<size_t>(point.bytes);
    if (stays(point)) {
      storage.append(line.substr(i, length));
    } else if (!point.valid) {
      storage.append(kReplacementUtf8);
      ++faults.not_utf8;
    } else if (point.value != kByteOrderMark) {
      storage += ' ';
      ++faults.controls;
    }
    i += length;
  }
  return storage;
}

}  // namespace heddle::text
