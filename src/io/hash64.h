// XXH64 (Collet, github.com/Cyan4973/xxHash): a 64-bit hash at the speed of memory, against damage
// and mistakes, not against malice.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace heddle::io {

class Hash64 {
 public:
  explicit Hash64(uint64_t seed = 0);

  void add(std::span<const std::byte> bytes);
  void add(std::string_view text) { add(std::as_bytes(std::span(text))); }

  /// Of all that was added; more may follow.
  uint64_t value() const;

 private:
  std::array<uint64_t, 4> lanes_;
  std::array<std::byte, 32> rest_;  // what does not fill a stripe yet
  size_t held_ = 0;
  uint64_t size_ = 0;
  uint64_t seed_;
};

uint64_t hash64(std::string_view text);

/// Of a regular file's content.
uint64_t hash_file(const std::string& path);

/// 16 hexadecimal digits.
std::string hex64(uint64_t value);

}  // namespace heddle::io
