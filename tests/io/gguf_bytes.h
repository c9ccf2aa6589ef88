// The bytes of GGUF files, made by hand for the tests.
#pragma once

#include <string>
#include <vector>

#include "tests/io/files.h"

namespace heddle::testing::gguf {

inline std::string text(const std::string& content) {
  return bytes_of(uint64_t{content.size()}) + content;
}

// The ids of the types.
enum : uint32_t { kU8, kI8, kU16, kI16, kU32, kI32, kF32, kBool, kString, kArray, kU64 };

inline std::string pair(const std::string& key, uint32_t type, const std::string& value) {
  return text(key) + bytes_of(type) + value;
}

inline std::string array(uint32_t type, uint64_t count, const std::string& elements = "") {
  return bytes_of(type) + bytes_of(count) + elements;
}

inline std::string entry(const std::string& name, const std::vector<uint64_t>& lengths,
                         uint32_t type = 0, uint64_t offset = 0) {
  std::string bytes = text(name) + bytes_of(static_cast<uint32_t>(lengths.size()));
  for (const uint64_t length : lengths) bytes += bytes_of(length);
  return bytes + bytes_of(type) + bytes_of(offset);
}

inline std::string header(uint32_t version, uint64_t tensors, uint64_t pairs) {
  return "GGUF" + bytes_of(version) + bytes_of(tensors) + bytes_of(pairs);
}

inline std::string padded(std::string bytes, size_t alignment = 32) {
  bytes.resize((bytes.size() + alignment - 1) / alignment * alignment);
  return bytes;
}

inline std::string file(const std::vector<std::string>& pairs,
                        const std::vector<std::string>& entries = {}, const std::string& data = "",
                        size_t alignment = 32) {
  std::string bytes = header(3, entries.size(), pairs.size());
  for (const std::string& part : pairs) bytes += part;
  for (const std::string& part : entries) bytes += part;
  return data.empty() ? bytes : padded(bytes, alignment) + data;
}

}  // namespace heddle::testing::gguf
