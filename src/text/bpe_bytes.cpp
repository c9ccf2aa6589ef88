#include "heddle/text/bpe_bytes.h"

#include <array>
#include <cstddef>

#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

constexpr bool stands_for_itself(int byte) {
  return (byte >= 0x21 && byte <= 0x7E) || (byte >= 0xA1 && byte != 0xAD);
}

constexpr char32_t kFirstStandIn = 0x100;
constexpr size_t kChars = 0x144;  // 256, and one for each byte that does not stand for itself

struct Tables {
  std::array<char32_t, 256> chars{};
  std::array<int16_t, kChars> bytes{};
};

constexpr Tables make_tables() {
  Tables tables;
  for (auto& byte : tables.bytes) byte = -1;
  char32_t next = kFirstStandIn;
  for (int byte = 0; byte < 256; ++byte) {
    const char32_t value = stands_for_itself(byte) ? static_cast<char32_t>(byte) : next++;
    tables.chars[static_cast<size_t>(byte)] = value;
    tables.bytes[value] = static_cast<int16_t>(byte);
  }
  return tables;
}

constexpr Tables kTables = make_tables();

}  // namespace

char32_t char_of_byte(uint8_t byte) { return kTables.chars[byte]; }

int byte_of_char(char32_t value) { return value < kChars ? kTables.bytes[value] : -1; }

void append_byte_chars(std::string& text, std::string_view bytes) {
  for (const char byte : bytes) append_utf8(text, char_of_byte(static_cast<uint8_t>(byte)));
}

bool append_bytes_of(std::string& bytes, std::string_view piece) {
  const size_t before = bytes.size();
  for (size_t i = 0; i < piece.size();) {
    const CodePoint point = decode_utf8(piece, i);
    const int byte = point.valid ? byte_of_char(point.value) : -1;
    if (byte < 0) {
      bytes.resize(before);
      return false;
    }
    bytes += static_cast<char>(byte);
    i += static_cast<size_t>(point.bytes);
  }
  return true;
}

}  // namespace heddle::text
