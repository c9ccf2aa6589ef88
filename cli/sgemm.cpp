#include "cli/sgemm.h"

#include <dlfcn.h>

#include <algorithm>
#include <limits>
#include <vector>

#include "heddle/base/timer.h"

namespace heddle::cli {

namespace {

// cblas.h: row-major, transposition of A and B, m, n, k, alpha, A, lda, B, ldb, beta, C, ldc.
using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int,
                       float, float*, int);
using SetThreads = void (*)(int);

constexpr int kRowMajor = 101, kNoTranspose = 111, kSize = 1024, kTries = 5;

}  // namespace

std::optional<double> sgemm_rate(int threads) {
  static void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return {};
  const auto sgemm = reinterpret_cast<Sgemm>(dlsym(library, "cblas_sgemm"));
  const auto set_threads = reinterpret_cast<SetThreads>(dlsym(library, "openblas_set_num_threads"));
  if (sgemm == nullptr || set_threads == nullptr) return {};
  set_threads(threads);
  constexpr size_t kElements = size_t{kSize} * kSize;
  const std::vector<float> a(kElements, 1.0f), b(kElements, 0.5f);
  std::vector<float> c(kElements);
  double best = std::numeric_limits<double>::infinity();
  for (int n = 0; n < kTries; ++n) {
    const Timer timer;
    sgemm(kRowMajor, kNoTranspose, kNoTranspose, kSize, kSize, kSize, 1, a.data(), kSize, b.data(),
          kSize, 0, c.data(), kSize);
    best = std::min(best, timer.seconds());
  }
  return 2.0 * kSize * kSize * kSize / best;
}

}  // namespace heddle::cli
