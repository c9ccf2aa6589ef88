// Marian's binary shortlist, written field by field; every field can be given a wrong value.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

namespace heddle::decode::test {

struct ShortlistFile {
  uint64_t magic = 0xF11A48D5013417F5;
  uint64_t first = 0, best = 50;
  std::vector<std::vector<int32_t>> lists;  // of each source token
  std::vector<uint64_t> offsets{};          // instead of those of the lists
  std::optional<uint64_t> offset_count{}, id_count{};

  std::string bytes() const {
    std::vector<uint64_t> starts{0};
    std::string ids;
    for (const std::vector<int32_t>& list : lists) {
      for (const int32_t id : list) append(ids, id);
      starts.push_back(ids.size() / 4);
    }
    if (!offsets.empty()) starts = offsets;
    std::string body;
    append(body, first);
    append(body, best);
    append(body, offset_count.value_or(starts.size()));
    append(body, id_count.value_or(ids.size() / 4));
    for (const uint64_t start : starts) append(body, start);
    body += ids;
    std::string file;
    append(file, magic);
    append(file, checksum(body));
    return file + body;
  }

 private:
  template <typename T>
  static void append(std::string& bytes, T value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }

  static uint64_t checksum(const std::string& body) {
    uint64_t sum = 0;
    for (size_t at = 0; at + 8 <= body.size(); at += 8) {
      uint64_t word = 0;
      std::memcpy(&word, body.data() + at, 8);
      sum ^= word + 0x9e3779b9 + (sum << 6) + (sum >> 2);
    }
    return sum;
  }
};

}  // namespace heddle::decode::test
