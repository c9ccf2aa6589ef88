#include "heddle/base/random.h"

#include <cmath>
#include <numbers>

#include "heddle/base/philox.h"

namespace heddle {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  const auto& [c0, c1, c2, c3] = counter;
  const PhiloxWords words = philox_rounds({{c0, c1, c2, c3}}, key[0], key[1]);
  return {words.word[0], words.word[1], words.word[2], words.word[3]};
}

uint32_t Random::next() {
  if (used_ == 4) {
    words_ = philox({static_cast<uint32_t>(block_), static_cast<uint32_t>(block_ >> 32),
                     static_cast<uint32_t>(stream_), static_cast<uint32_t>(stream_ >> 32)},
                    {static_cast<uint32_t>(seed_), static_cast<uint32_t>(seed_ >> 32)});
    ++block_;
    used_ = 0;
  }
  return words_[used_++];
}

uint64_t Random::below(uint64_t bound) {
  // Draw again the few values that would favour small results.
  const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
  for (;;) {
    const uint64_t high = next();
    const uint64_t value = (high << 32) | next();
    if (value < limit) return value % bound;
  }
}

int64_t Random::between(int64_t first, int64_t last) {
  return first + static_cast<int64_t>(below(static_cast<uint64_t>(last - first) + 1));
}

double Random::uniform() {
  const uint64_t high = next();
  const uint64_t value = (high << 32) | next();
  return static_cast<double>(value >> 11) * 0x1p-53;
}

double Random::normal() {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
  return radius * std::cos(2.0 * std::numbers::pi * uniform());
}

}  // namespace heddle
