// The rounds of Philox4x32-10 (Salmon et al., SC 2011), for the host and for GPUs.
#pragma once

#include <cstdint>

#include "heddle/base/host_device.h"

namespace heddle {

/// 128 bits: a counter before the rounds, four random words after them.
struct PhiloxWords {
  uint32_t word[4];
};

HEDDLE_HD inline PhiloxWords philox_rounds(PhiloxWords counter, uint32_t key0, uint32_t key1) {
  constexpr int kRounds = 10;
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t a = uint64_t{0xD2511F53u} * counter.word[0];
    const uint64_t b = uint64_t{0xCD9E8D57u} * counter.word[2];
    counter = {{static_cast<uint32_t>(b >> 32) ^ counter.word[1] ^ key0, static_cast<uint32_t>(b),
                static_cast<uint32_t>(a >> 32) ^ counter.word[3] ^ key1, static_cast<uint32_t>(a)}};
    // Weyl sequence: the sums wrap on purpose.
    key0 = static_cast<uint32_t>(uint64_t{key0} + 0x9E3779B9u);
    key1 = static_cast<uint32_t>(uint64_t{key1} + 0xBB67AE85u);
  }
  return counter;
}

}  // namespace heddle
