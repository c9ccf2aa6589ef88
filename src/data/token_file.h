// The file of a token cache: lists of tokens, mapped into memory and checked to the last byte. An
// item is one list or several, as the source and the target of a pair are. For token_cache.h and
// example_cache.h.
//
//   head      "HEDDLTOK", key u64
//   tokens    i32 [tokens], zeros to a multiple of 8 bytes
//   offsets   u64 [lists · items + 1]
//   weights   f32 [items], where there are any, zeros to a multiple of 8 bytes
//   counts    u64 [counts]
//   foot      items, tokens, weighted, hash of all before it (XXH64), "HEDDLEND"; u64 each
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/data/input_file.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/hash64.h"

namespace heddle::data {

inline constexpr std::string_view kTokenFileHead = "HEDDLTOK", kTokenFileEnd = "HEDDLEND";
inline constexpr uint64_t kTokenFileVersion = 1;  ///< part of the key
inline constexpr size_t kTokenFileFoot = 5 * 8;   ///< bytes

struct TokenFileShape {
  uint64_t lists = 1;   ///< of an item
  uint64_t counts = 0;  ///< numbers that the owner keeps
};

class TokenFile {
 public:
  /// Maps a file and checks every byte of it; throws when it is damaged or has another key.
  TokenFile(const std::string& path, uint64_t key, const TokenFileShape& shape);
  TokenFile(TokenFile&& other) noexcept;
  TokenFile& operator=(TokenFile&& other) noexcept;
  ~TokenFile();

  std::span<const int32_t> tokens() const { return tokens_; }
  std::span<const uint64_t> offsets() const { return offsets_; }  ///< [lists · items + 1]
  std::span<const float> weights() const { return weights_; }     ///< [items], or empty
  std::span<const uint64_t> counts() const { return counts_; }

 private:
  void read(const std::string& path, uint64_t key, const TokenFileShape& shape);

  void* mapped_ = nullptr;
  size_t bytes_ = 0;
  std::span<const int32_t> tokens_;
  std::span<const uint64_t> offsets_, counts_;
  std::span<const float> weights_;
};

/// Writes such a file: it appears complete or not at all.
class TokenFileWriter {
 public:
  TokenFileWriter(const std::string& path, uint64_t key, const TokenFileShape& shape);

  void add_list(std::span<const int32_t> tokens);

  /// Of the next item; for all or for none.
  void add_weight(float weight);

  void finish(std::span<const uint64_t> counts);

 private:
  void put(std::span<const std::byte> bytes);
  void number(uint64_t value) { put(std::as_bytes(std::span(&value, 1))); }
  void align();

  io::AtomicFile file_;
  io::Hash64 hash_;
  TokenFileShape shape_;
  std::vector<uint64_t> offsets_{0};
  std::vector<float> weights_;
  uint64_t tokens_ = 0;
  bool weighted_ = false;  ///< some weight is not 1
};

/// The hash of what a cache depends on.
class CacheHash {
 public:
  void add(uint64_t value) { hash_.add(std::as_bytes(std::span(&value, 1))); }
  void add(std::string_view text) {
    add(text.size());
    hash_.add(text);
  }
  void add(const FileState& state) {
    add(state.size);
    add(state.hash);
  }
  uint64_t value() const { return hash_.value(); }

 private:
  io::Hash64 hash_;
};

/// The cache of this key in a folder.
std::string token_file_path(const std::string& folder, uint64_t key);

}  // namespace heddle::data
