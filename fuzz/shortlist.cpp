// Fuzz target: the reader of Marian's binary shortlists. The checksum would keep a fuzzer out of
// what lies behind it, so every input is tried as it is and with its checksum put right. What is
// accepted must give candidates that rise and lie in the vocabulary.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/decode/shortlist.h"

namespace {

constexpr int64_t kVocabulary = 64;

uint64_t wrapping_sum(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  static_cast<void>(__builtin_add_overflow(a, b, &sum));
  return sum;
}

void repair(std::string& bytes) {
  uint64_t sum = 0;
  for (size_t at = 16; at + 8 <= bytes.size(); at += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + at, 8);
    sum ^= wrapping_sum(wrapping_sum(word, 0x9e3779b9), wrapping_sum(sum << 6, sum >> 2));
  }
  std::memcpy(bytes.data() + 8, &sum, 8);
}

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "shortlist: %s\n", what);
  std::abort();
}

void read(const std::string& bytes) {
  try {
    const heddle::io::Source source(std::as_bytes(std::span(bytes)), "fuzzed");
    const heddle::decode::Shortlist shortlist(source, kVocabulary);
    std::vector<int32_t> tokens;
    for (int32_t token = -1; token < shortlist.source_vocabulary() + 2 && token < 300; ++token) {
      tokens.push_back(token);
    }
    const std::vector<int32_t> candidates = shortlist.candidates(tokens);
    int32_t last = -1;
    for (const int32_t id : candidates) {
      require(id > last && id < kVocabulary, "candidates do not rise within the vocabulary");
      last = id;
    }
    require(candidates.size() % 8 == 0, "candidates are not filled up");
  } catch (const heddle::Error&) {
    // refused: fine
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string bytes(reinterpret_cast<const char*>(data), size);
  read(bytes);
  if (size >= 16) {
    repair(bytes);
    read(bytes);
  }
  return 0;
}
