#include "heddle/data/token_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <tuple>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/paths.h"

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

TokenFile::TokenFile(const std::string& path, uint64_t key, const TokenFileShape& shape) {
  std::tie(mapped_, bytes_) = map_file(path);
  try {
    read(path, key, shape);
  } catch (...) {
    ::munmap(mapped_, bytes_);
    throw;
  }
}

TokenFile::TokenFile(TokenFile&& other) noexcept
    : mapped_(std::exchange(other.mapped_, nullptr)),
      bytes_(other.bytes_),
      tokens_(other.tokens_),
      offsets_(other.offsets_),
      counts_(other.counts_),
      weights_(other.weights_) {}

TokenFile& TokenFile::operator=(TokenFile&& other) noexcept {
  std::swap(mapped_, other.mapped_);
  std::swap(bytes_, other.bytes_);
  std::swap(tokens_, other.tokens_);
  std::swap(offsets_, other.offsets_);
  std::swap(counts_, other.counts_);
  std::swap(weights_, other.weights_);
  return *this;
}

TokenFile::~TokenFile() {
  if (mapped_ != nullptr) ::munmap(mapped_, bytes_);
}

void TokenFile::read(const std::string& path, uint64_t key, const TokenFileShape& shape) {
  const auto* bytes = static_cast<const std::byte*>(mapped_);
  constexpr size_t kHead = 16;
  const size_t count_bytes = shape.counts * 8;
  HEDDLE_CHECK(bytes_ >= kHead + count_bytes + kTokenFileFoot && is_text_at(bytes, kTokenFileHead),
               path, ": found no token cache");
  const std::byte* foot = bytes + bytes_ - kTokenFileFoot;
  HEDDLE_CHECK(is_text_at(foot + 32, kTokenFileEnd), path, ": the token cache is cut short");
  HEDDLE_CHECK(number_at(bytes + 8) == key, path, ": found a token cache of other data");
  const uint64_t items = number_at(foot), tokens = number_at(foot + 8),
                 weighted = number_at(foot + 16);
  io::Hash64 hash;
  hash.add(std::span(bytes, bytes_ - kTokenFileFoot + 24));
  HEDDLE_CHECK(hash.value() == number_at(foot + 24), path, ": the token cache is damaged");

  const uint64_t limit = bytes_ / 4;  // what no number may pass, so that no sum wraps
  HEDDLE_CHECK(items < limit && tokens < limit && weighted <= 1, path, ": found ", items,
               " items and ", tokens, " tokens in ", bytes_, " bytes");
  const uint64_t token_bytes = (tokens * 4 + 7) / 8 * 8,
                 offset_bytes = (shape.lists * items + 1) * 8,
                 weight_bytes = weighted * ((items * 4 + 7) / 8 * 8);
  HEDDLE_CHECK(
      kHead + token_bytes + offset_bytes + weight_bytes + count_bytes + kTokenFileFoot == bytes_,
      path, ": found ", items, " items and ", tokens, " tokens in ", bytes_, " bytes");
  const std::byte* at = bytes + kHead;
  tokens_ = {reinterpret_cast<const int32_t*>(at), tokens};
  at += token_bytes;
  offsets_ = {reinterpret_cast<const uint64_t*>(at), shape.lists * items + 1};
  at += offset_bytes;
  if (weighted != 0) weights_ = {reinterpret_cast<const float*>(at), items};
  at += weight_bytes;
  counts_ = {reinterpret_cast<const uint64_t*>(at), shape.counts};
  uint64_t before = 0;
  for (const uint64_t offset : offsets_) {
    HEDDLE_CHECK(offset >= before && offset <= tokens, path, ": found an offset of ", offset,
                 " behind one of ", before, "; there are ", tokens, " tokens");
    before = offset;
  }
}

TokenFileWriter::TokenFileWriter(const std::string& path, uint64_t key, const TokenFileShape& shape)
    : file_(path), shape_(shape) {
  put(std::as_bytes(std::span(kTokenFileHead)));
  number(key);
}

void TokenFileWriter::add_list(std::span<const int32_t> tokens) {
  put(std::as_bytes(tokens));
  tokens_ += tokens.size();
  offsets_.push_back(tokens_);
}

void TokenFileWriter::add_weight(float weight) {
  weights_.push_back(weight);
  weighted_ = weighted_ || weight != 1.0F;
}

void TokenFileWriter::finish(std::span<const uint64_t> counts) {
  align();
  put(std::as_bytes(std::span(offsets_)));
  if (weighted_) {
    put(std::as_bytes(std::span(weights_)));
    align();
  }
  for (const uint64_t count : counts) number(count);
  number((offsets_.size() - 1) / shape_.lists);
  number(tokens_);
  number(weighted_ ? 1 : 0);
  number(hash_.value());
  put(std::as_bytes(std::span(kTokenFileEnd)));
  file_.commit();
}

void TokenFileWriter::put(std::span<const std::byte> bytes) {
  hash_.add(bytes);
  file_.write(bytes);
}

void TokenFileWriter::align() {
  constexpr std::string_view kZeros("\0\0\0\0\0\0\0", 7);
  put(std::as_bytes(std::span(kZeros.substr(0, (8 - file_.size() % 8) % 8))));
}

std::string token_file_path(const std::string& folder, uint64_t key) {
  return io::join_path(folder, "tokens-" + io::hex64(key) + ".bin");
}

}  // namespace heddle::data
