#include "heddle/io/quoted.h"

namespace heddle::io {

std::string quoted(std::string_view text) {
  constexpr size_t kShown = 96;
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string result = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      result += c;
    } else {
      result += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return result + (text.size() > kShown ? "…'" : "'");
}

}  // namespace heddle::io
