#include "heddle/decode/shortlist.h"

#include <algorithm>
#include <cstring>

#include "heddle/base/error.h"

namespace heddle::decode {

namespace {

constexpr uint64_t kMagic = 0xF11A48D5013417F5;
constexpr uint64_t kHeader = 48;             // bytes
constexpr uint64_t kMostOffsets = 1u << 24;  // far above any vocabulary
constexpr size_t kMultiple = 8;

struct Header {
  uint64_t magic, checksum, first, best, offsets, ids;
};
static_assert(sizeof(Header) == kHeader);

/// boost::hash_combine over the words, as Marian computes it.
class Checksum {
 public:
  void add(std::span<const uint64_t> words) {
    for (const uint64_t word : words) {
      // Wraps on purpose; two halves keep the overflow sanitizer out of it.
      value_ ^=
          wrapping_sum(wrapping_sum(word, 0x9e3779b9), wrapping_sum(value_ << 6, value_ >> 2));
    }
  }
  uint64_t value() const { return value_; }

 private:
  static uint64_t wrapping_sum(uint64_t a, uint64_t b) {
    uint64_t sum = 0;
    static_cast<void>(__builtin_add_overflow(a, b, &sum));
    return sum;
  }

  uint64_t value_ = 0;
};

uint64_t checksum_of(const io::Source& source) {
  constexpr uint64_t kChunk = 8192;  // words
  std::vector<uint64_t> words(kChunk);
  const uint64_t count = (source.size() - 16) / 8;
  Checksum checksum;
  for (uint64_t done = 0; done < count;) {
    const uint64_t next = std::min(kChunk, count - done);
    source.read(words.data(), next * 8, 16 + done * 8);
    checksum.add({words.data(), next});
    done += next;
  }
  return checksum.value();
}

void check_header(const Header& header, const io::Source& source) {
  HEDDLE_CHECK(header.magic == kMagic, "shortlist: ", source.name(), ": magic is ", header.magic,
               "; expected ", kMagic, ". Only Marian's binary shortlists are read");
  HEDDLE_CHECK(header.offsets >= 1 && header.offsets <= kMostOffsets, "shortlist: ", source.name(),
               ": ", header.offsets, " offsets (byte 32); expected 1 … ", kMostOffsets);
  const uint64_t lists = source.size() - kHeader;  // bytes of offsets and ids
  const bool fits = header.offsets <= lists / 8 && header.ids <= (lists - header.offsets * 8) / 4 &&
                    header.offsets * 8 + header.ids * 4 == lists;
  HEDDLE_CHECK(fits, "shortlist: ", source.name(), ": the file has ", source.size(),
               " bytes; expected 48 + 8 · ", header.offsets, " + 4 · ", header.ids,
               ". Is it complete?");
  HEDDLE_CHECK(header.ids <= UINT32_MAX, "shortlist: ", source.name(), ": ", header.ids,
               " ids (byte 40); expected below 2^32");
}

}  // namespace

Shortlist::Shortlist(const io::Source& source, int64_t target_vocabulary)
    : target_vocabulary_(target_vocabulary) {
  HEDDLE_CHECK(source.size() >= kHeader, "shortlist: ", source.name(), ": the file has ",
               source.size(), " bytes; expected a header of ", kHeader);
  Header header;
  source.read(&header, sizeof header, 0);
  check_header(header, source);
  HEDDLE_CHECK(header.first <= static_cast<uint64_t>(target_vocabulary),
               "shortlist: ", source.name(), ": ", header.first,
               " first tokens (byte 16); expected at most ", target_vocabulary, ", the vocabulary");
  const uint64_t sum = checksum_of(source);
  HEDDLE_CHECK(sum == header.checksum, "shortlist: ", source.name(), ": checksum ", header.checksum,
               " (byte 8), but the content has ", sum, ". The file is damaged");
  first_ = static_cast<int64_t>(header.first);
  std::vector<uint64_t> offsets(header.offsets);
  source.read(offsets.data(), offsets.size() * 8, kHeader);
  for (size_t i = 0; i < offsets.size(); ++i) {
    const bool rising = i == 0 ? offsets[0] == 0 : offsets[i] >= offsets[i - 1];
    HEDDLE_CHECK(rising && offsets[i] <= header.ids, "shortlist: ", source.name(), ": offset ", i,
                 " is ", offsets[i], " (byte ", kHeader + i * 8, "); expected ",
                 i == 0 ? 0 : offsets[i - 1], " … ", i == 0 ? 0 : header.ids);
    offsets_.push_back(static_cast<uint32_t>(offsets[i]));
  }
  const uint64_t begin = kHeader + header.offsets * 8;
  ids_.resize(header.ids);
  source.read(ids_.data(), ids_.size() * 4, begin);
  for (size_t i = 0; i < ids_.size(); ++i) {
    HEDDLE_CHECK(ids_[i] >= 0 && ids_[i] < target_vocabulary, "shortlist: ", source.name(), ": id ",
                 static_cast<uint32_t>(ids_[i]), " (byte ", begin + i * 4, "); expected below ",
                 target_vocabulary, ". Does the shortlist belong to this model?");
  }
}

std::vector<int32_t> Shortlist::candidates(std::span<const int32_t> source) const {
  // A bit a token is a few kilobytes, and cheaper than sorting the lists.
  std::vector<uint64_t> bits((static_cast<size_t>(target_vocabulary_) + 63) / 64);
  const auto add = [&bits](int64_t id) { bits[static_cast<size_t>(id) / 64] |= 1ull << (id % 64); };
  for (int64_t id = 0; id < first_; ++id) add(id);
  for (const int32_t token : source) {
    if (token < 0 || token >= source_vocabulary()) continue;
    if (shared_ && token < target_vocabulary_) add(token);
    const size_t begin = offsets_[static_cast<size_t>(token)];
    const size_t end = offsets_[static_cast<size_t>(token) + 1];
    for (size_t i = begin; i < end; ++i) add(ids_[i]);
  }
  size_t count = 0;
  for (const uint64_t word : bits) count += static_cast<size_t>(__builtin_popcountll(word));
  for (int64_t id = first_; id < target_vocabulary_ && count % kMultiple != 0; ++id) {
    const bool is_new = (bits[static_cast<size_t>(id) / 64] >> (id % 64) & 1) == 0;
    add(id);
    count += is_new ? 1 : 0;
  }
  std::vector<int32_t> list;
  list.reserve(count);
  for (size_t word = 0; word < bits.size(); ++word) {
    for (uint64_t rest = bits[word]; rest != 0; rest &= rest - 1) {
      list.push_back(static_cast<int32_t>(word * 64) + __builtin_ctzll(rest));
    }
  }
  return list;
}

}  // namespace heddle::decode
