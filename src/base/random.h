// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011). A number depends on (seed, stream, index) alone, so any thread or device can
// draw any of them in any order and a run can be resumed or replayed to the bit.
#pragma once

#include <array>
#include <cstdint>

namespace heddle {

/// Four 32-bit words for a 128-bit counter and a 64-bit key.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// A sequence of random numbers; `stream` separates independent uses of one seed.
class Random {
 public:
  explicit Random(uint64_t seed, uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  uint32_t next();                 ///< 32 uniform bits
  uint64_t below(uint64_t bound);  ///< uniform in [0, bound), without modulo bias; bound >= 1
  int64_t between(int64_t first, int64_t last);  ///< uniform in [first, last], both included
  double uniform();                              ///< in [0, 1), 53 bits
  double normal();                               ///< mean 0, variance 1 (Box–Muller)

 private:
  uint64_t seed_;
  uint64_t stream_;
  uint64_t block_ = 0;
  std::array<uint32_t, 4> words_{};
  unsigned used_ = 4;
};

}  // namespace heddle
