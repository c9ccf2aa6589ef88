#include "heddle/base/random.h"

#include <cmath>
#include <numbers>

namespace heddle {

std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key) {
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter[2];
    counter = {static_cast<uint32_t>(b >> 32) ^ counter[1] ^ key[0], static_cast<uint32_t>(b),
               static_cast<uint32_t>(a >> 32) ^ counter[3] ^ key[1], static_cast<uint32_t>(a)};
    // Weyl sequence: the sums wrap on purpose.
    key[0] = static_cast<uint32_t>(uint64_t{key[0]} + 0x9E3779B9u);
    key[1] = static_cast<uint32_t>(uint64_t{key[1]} + 0xBB67AE85u);
  }
  return counter;
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
