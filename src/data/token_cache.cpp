#include "heddle/data/token_cache.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/data/token_file.h"
#include "heddle/io/hash64.h"

namespace heddle::data {

namespace {

uint64_t number_at(const std::byte* bytes) {
  uint64_t value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

bool is_text_at(const std::byte* bytes, std::string_view text) {
  return std::memcmp(bytes, text.data(), text.size()) == 0;
}

/// The whole file, to be unmapped by the caller.
std::pair<void*, size_t> map_file(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  HEDDLE_CHECK(file >= 0, path, ": cannot be opened: ", std::generic_category().message(errno));
  struct stat status {};
  const bool regular = ::fstat(file, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0;
  const auto bytes = static_cast<size_t>(regular ? status.st_size : 0);
  void* mapped = regular ? ::mmap(nullptr, bytes, PROT_READ, MAP_PRIVATE, file, 0) : MAP_FAILED;
  ::close(file);
  HEDDLE_CHECK(mapped != MAP_FAILED, path, ": cannot be mapped: expected a regular file of tokens");
  return {mapped, bytes};
}

}  // namespace

TokenCache::TokenCache(const std::string& path, uint64_t key) {
  std::tie(mapped_, bytes_) = map_file(path);
  try {
    read(path, key);
  } catch (...) {
    ::munmap(mapped_, bytes_);
    throw;
  }
}

TokenCache::TokenCache(TokenCache&& other) noexcept
    : mapped_(std::exchange(other.mapped_, nullptr)),
      bytes_(other.bytes_),
      pairs_(other.pairs_),
      counts_(other.counts_) {}

TokenCache& TokenCache::operator=(TokenCache&& other) noexcept {
  std::swap(mapped_, other.mapped_);
  std::swap(bytes_, other.bytes_);
  std::swap(pairs_, other.pairs_);
  std::swap(counts_, other.counts_);
  return *this;
}

TokenCache::~TokenCache() {
  if (mapped_ != nullptr) ::munmap(mapped_, bytes_);
}

void TokenCache::read(const std::string& path, uint64_t key) {
  const auto* bytes = static_cast<const std::byte*>(mapped_);
  constexpr size_t kHead = 16, kCountBytes = kCounts * 8;
  HEDDLE_CHECK(bytes_ >= kHead + kCountBytes + kTokenFileFoot && is_text_at(bytes, kTokenFileHead),
               path, ": found no token cache");
  const std::byte* foot = bytes + bytes_ - kTokenFileFoot;
  HEDDLE_CHECK(is_text_at(foot + 32, kTokenFileEnd), path, ": the token cache is cut short");
  HEDDLE_CHECK(number_at(bytes + 8) == key, path, ": found a token cache of other data");
  const uint64_t pairs = number_at(foot), tokens = number_at(foot + 8),
                 weighted = number_at(foot + 16);
  io::Hash64 hash;
  hash.add(std::span(bytes, bytes_ - kTokenFileFoot + 24));
  HEDDLE_CHECK(hash.value() == number_at(foot + 24), path, ": the token cache is damaged");

  const uint64_t limit = bytes_ / 4;  // what no number may pass, so that no sum wraps
  HEDDLE_CHECK(pairs < limit && tokens < limit && weighted <= 1, path, ": found ", pairs,
               " pairs and ", tokens, " tokens in ", bytes_, " bytes");
  const uint64_t token_bytes = (tokens * 4 + 7) / 8 * 8, offset_bytes = (2 * pairs + 1) * 8,
                 weight_bytes = weighted * ((pairs * 4 + 7) / 8 * 8);
  HEDDLE_CHECK(
      kHead + token_bytes + offset_bytes + weight_bytes + kCountBytes + kTokenFileFoot == bytes_,
      path, ": found ", pairs, " pairs and ", tokens, " tokens in ", bytes_, " bytes");
  const std::byte* at = bytes + kHead;
  pairs_.tokens = {reinterpret_cast<const int32_t*>(at), tokens};
  at += token_bytes;
  pairs_.offsets = {reinterpret_cast<const uint64_t*>(at), 2 * pairs + 1};
  at += offset_bytes;
  if (weighted != 0) pairs_.weights = {reinterpret_cast<const float*>(at), pairs};
  at += weight_bytes;
  for (uint64_t* field : fields_of(counts_)) {
    *field = number_at(at);
    at += 8;
  }
  uint64_t before = 0;
  for (const uint64_t offset : pairs_.offsets) {
    HEDDLE_CHECK(offset >= before && offset <= tokens, path, ": found an offset of ", offset,
                 " behind one of ", before, "; there are ", tokens, " tokens");
    before = offset;
  }
}

}  // namespace heddle::data
