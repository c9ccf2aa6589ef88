#include "cli/read_rate.h"

#include <algorithm>
#include <atomic>
#include <limits>
#include <vector>

#include "heddle/base/timer.h"

namespace heddle::cli {

double read_rate(ThreadPool& threads) {
  constexpr int64_t kPart = int64_t{1} << 17, kParts = 256;  // words
  constexpr int kTries = 3;
  const std::vector<uint64_t> words(static_cast<size_t>(kPart * kParts), 1);
  std::atomic<uint64_t> total = 0;
  double best = std::numeric_limits<double>::infinity();
  for (int n = 0; n < kTries; ++n) {
    const Timer timer;
    threads.parallel_for(kParts, [&](int64_t part, int) {
      const uint64_t* from = words.data() + part * kPart;
      uint64_t sums[16] = {};  // independent, so that loads overlap
      for (int64_t i = 0; i < kPart; i += 16) {
        for (int64_t lane = 0; lane < 16; ++lane) sums[lane] += from[i + lane];
      }
      for (const uint64_t sum : sums) total += sum;  // else nothing would be read
    });
    best = std::min(best, timer.seconds());
  }
  return static_cast<double>(words.size() * sizeof words[0]) / best;
}

}  // namespace heddle::cli
