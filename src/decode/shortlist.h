// Lexical shortlists: for each source token the target tokens that are likely in its translation.
// Marian's binary format, as the Bergamot models have it, little-endian:
//
//   u64 magic 0xF11A48D5013417F5; u64 checksum of the words behind it; u64 first; u64 best;
//   u64 offsets; u64 ids; u64 offset[offsets]; u32 id[ids]
//
// The candidates of a sentence are the `first` tokens of the vocabulary (the most frequent) and the
// lists id[offset[s]] … id[offset[s + 1] − 1] of its tokens s, filled up to a multiple of eight.
// Each sentence chooses among its own candidates, whatever is decoded beside it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "heddle/io/source.h"

namespace heddle::decode {

class Shortlist {
 public:
  /// Reads and checks every byte: throws at a wrong size or checksum, at offsets that fall or lie
  /// outside, and at ids from `target_vocabulary` on.
  Shortlist(const io::Source& source, int64_t target_vocabulary);

  /// Rising, each once; source tokens beyond the file's lists add nothing.
  std::vector<int32_t> candidates(std::span<const int32_t> source) const;

  /// With `shared`, source tokens are candidates themselves: names and numbers, where both sides
  /// have one vocabulary.
  void set_shared(bool shared) { shared_ = shared; }

  int64_t source_vocabulary() const { return std::ssize(offsets_) - 1; }
  int64_t first() const { return first_; }

 private:
  int64_t target_vocabulary_;
  int64_t first_ = 0;
  bool shared_ = false;
  std::vector<uint32_t> offsets_;
  std::vector<int32_t> ids_;
};

}  // namespace heddle::decode
