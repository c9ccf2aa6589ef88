// Fuzz target: opening a token cache. The hash at its foot is set right first, so that what lies
// behind that test is reached; an accepted file has only pairs that lie inside it.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "fuzz/source_of.h"
#include "heddle/data/token_cache.h"
#include "heddle/data/token_file.h"
#include "heddle/io/hash64.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace heddle;
  std::string bytes(reinterpret_cast<const char*>(data), size);
  if (size >= 16 + data::kTokenFileFoot) {
    const uint64_t hash =
        io::hash64(std::string_view(bytes).substr(0, size - data::kTokenFileFoot + 24));
    std::memcpy(bytes.data() + size - 16, &hash, sizeof hash);
  }
  const int file = ::memfd_create("token_cache", 0);
  fuzz::require(file >= 0 && ::write(file, bytes.data(), size) == static_cast<ssize_t>(size),
                "token_cache: no file in memory");
  try {
    const data::TokenCache cache("/proc/self/fd/" + std::to_string(file), 7);
    const data::TokenPairs& pairs = cache.pairs();
    size_t tokens = 0;
    int64_t sum = 0;
    for (uint64_t i = 0; i < pairs.size(); ++i) {
      for (const auto text : {pairs.source(i), pairs.target(i)}) {
        if (!text.empty()) sum += text.front() + int64_t{text.back()};  // both can be read
        tokens += text.size();
      }
    }
    fuzz::require(tokens <= pairs.tokens.size() && sum != INT64_MIN,
                  "token_cache: pairs with more tokens than there are");
  } catch (const Error&) {
    // refused: fine
  }
  ::close(file);
  return 0;
}
