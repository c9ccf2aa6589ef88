#include "heddle/io/hash64.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "heddle/io/source.h"

namespace heddle::io {

namespace {

constexpr uint64_t kPrime1 = 0x9E3779B185EBCA87, kPrime2 = 0xC2B2AE3D27D4EB4F,
                   kPrime3 = 0x165667B19E3779F9, kPrime4 = 0x85EBCA77C2B2AE63,
                   kPrime5 = 0x27D4EB2F165667C5;

template <typename T>
T load(const std::byte* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof value);
  return value;
}

uint64_t mix(uint64_t lane, uint64_t input) {
  return std::rotl(lane + input * kPrime2, 31) * kPrime1;
}

uint64_t merge(uint64_t hash, uint64_t lane) { return (hash ^ mix(0, lane)) * kPrime1 + kPrime4; }

}  // namespace

Hash64::Hash64(uint64_t seed)
    : lanes_{seed + kPrime1 + kPrime2, seed + kPrime2, seed, seed - kPrime1}, seed_(seed) {}

void Hash64::add(std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  size_ += bytes.size();
  const auto stripe = [this](const std::byte* from) {
    for (size_t i = 0; i < 4; ++i) lanes_[i] = mix(lanes_[i], load<uint64_t>(from + 8 * i));
  };
  if (held_ > 0) {
    const size_t taken = std::min(rest_.size() - held_, bytes.size());
    std::memcpy(rest_.data() + held_, bytes.data(), taken);
    held_ += taken;
    bytes = bytes.subspan(taken);
    if (held_ < rest_.size()) return;
    stripe(rest_.data());
  }
  for (; bytes.size() >= rest_.size(); bytes = bytes.subspan(rest_.size())) stripe(bytes.data());
  held_ = bytes.size();
  if (held_ > 0) std::memcpy(rest_.data(), bytes.data(), held_);
}

uint64_t Hash64::value() const {
  uint64_t hash = seed_ + kPrime5;
  if (size_ >= rest_.size()) {
    hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) +
           std::rotl(lanes_[3], 18);
    for (const uint64_t lane : lanes_) hash = merge(hash, lane);
  }
  hash += size_;
  const std::byte* at = rest_.data();
  const std::byte* end = at + held_;
  for (; end - at >= 8; at += 8) {
    hash = std::rotl(hash ^ mix(0, load<uint64_t>(at)), 27) * kPrime1 + kPrime4;
  }
  if (end - at >= 4) {
    hash = std::rotl(hash ^ (load<uint32_t>(at) * kPrime1), 23) * kPrime2 + kPrime3;
    at += 4;
  }
  for (; at < end; ++at) hash = std::rotl(hash ^ (load<uint8_t>(at) * kPrime5), 11) * kPrime1;
  hash = (hash ^ (hash >> 33)) * kPrime2;
  hash = (hash ^ (hash >> 29)) * kPrime3;
  return hash ^ (hash >> 32);
}

uint64_t hash64(std::string_view text) {
  Hash64 hash;
  hash.add(text);
  return hash.value();
}

uint64_t hash_file(const std::string& path) {
  const Source source(path);
  Hash64 hash;
  std::vector<std::byte> block(std::min<uint64_t>(source.size(), uint64_t{1} << 20));
  for (uint64_t offset = 0; offset < source.size(); offset += block.size()) {
    block.resize(static_cast<size_t>(std::min<uint64_t>(block.size(), source.size() - offset)));
    source.read(block.data(), block.size(), offset);
    hash.add(block);
  }
  return hash.value();
}

std::string hex64(uint64_t value) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  std::string text(16, '0');
  for (size_t i = 16; i-- > 0; value >>= 4) text[i] = kDigits[value & 15];
  return text;
}

}  // namespace heddle::io
