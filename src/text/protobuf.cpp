#include "heddle/text/protobuf.h"

#include <bit>
#include <cstring>
#include <string>

#include "heddle/base/error.h"

namespace heddle::text {

static_assert(std::endian::native == std::endian::little, "fixed fields are copied as they lie");

uint64_t ProtobufReader::read_long_varint(std::string_view what) {
  uint64_t value = 0;
  const size_t start = at_;
  for (int i = 0; i < 10; ++i) {
    HEDDLE_CHECK(at_ < message_.size(), "sentencepiece: ", name_, ": ", what, " at offset ",
                 base_ + start, ": found the end of the message inside a number (truncated file)");
    const auto byte = static_cast<uint8_t>(message_[at_++]);
    HEDDLE_CHECK(i < 9 || byte <= 1, "sentencepiece: ", name_, ": ", what, " at offset ",
                 base_ + start, ": found a number of more than 64 bits");
    value |= static_cast<uint64_t>(byte & 0x7F) << (7 * i);
    if (byte < 0x80) break;
  }
  return value;
}

bool ProtobufReader::next() {
  if (at_ >= message_.size()) return false;
  const size_t start = base_ + at_;
  const uint64_t tag = read_varint("tag");
  HEDDLE_CHECK(tag >> 3 >= 1 && tag >> 3 < (1u << 29), "sentencepiece: ", name_, ": tag at offset ",
               start, ": found field ", tag >> 3, "; expected 1 to 536870911");
  field_ = static_cast<uint32_t>(tag >> 3);
  wire_ = static_cast<Wire>(tag & 7);
  value_at_ = at_;
  size_t length = 0;
  switch (wire_) {
    case Wire::varint:
      number_ = read_varint("value");
      return true;
    case Wire::bytes: {
      const uint64_t given = read_varint("length");
      HEDDLE_CHECK(given <= message_.size() - at_, "sentencepiece: ", name_, ": field ", field_,
                   " at offset ", start, ": found a length of ", given, " bytes; expected at most ",
                   message_.size() - at_, ", what is left (truncated file?)");
      value_at_ = at_;
      length = static_cast<size_t>(given);
      bytes_ = message_.substr(at_, length);
      break;
    }
    case Wire::fixed32:
      length = 4;
      break;
    case Wire::fixed64:
      length = 8;
      break;
    default:
      HEDDLE_CHECK(false, "sentencepiece: ", name_, ": field ", field_, " at offset ", start,
                   ": found wire type ", tag & 7, "; expected 0, 1, 2 or 5");
  }
  HEDDLE_CHECK(length <= message_.size() - at_, "sentencepiece: ", name_, ": field ", field_,
               " at offset ", start, ": found ", message_.size() - at_, " bytes; expected ", length,
               " (truncated file)");
  if (wire_ == Wire::fixed32) {
    uint32_t bits = 0;
    std::memcpy(&bits, message_.data() + at_, sizeof bits);
    number_ = bits;
  }
  at_ += length;
  return true;
}

void ProtobufReader::expect(Wire wire, std::string_view what) const {
  HEDDLE_CHECK(wire_ == wire, "sentencepiece: ", name_, ": ", what, " at offset ", offset(),
               ": found wire type ", static_cast<int>(wire_), "; expected ",
               static_cast<int>(wire));
}

std::string_view ProtobufReader::bytes(std::string_view what) const {
  expect(Wire::bytes, what);
  return bytes_;
}

uint64_t ProtobufReader::varint(std::string_view what) const {
  expect(Wire::varint, what);
  return number_;
}

int32_t ProtobufReader::int32(std::string_view what) const {
  return static_cast<int32_t>(static_cast<uint32_t>(varint(what) & 0xFFFFFFFFu));
}

float ProtobufReader::float32(std::string_view what) const {
  expect(Wire::fixed32, what);
  return std::bit_cast<float>(static_cast<uint32_t>(number_));
}

}  // namespace heddle::text
