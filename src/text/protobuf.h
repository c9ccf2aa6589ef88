// The wire format of Protocol Buffers, read with every length and type checked.
//
//   for (ProtobufReader message(bytes, "vocab.spm", 0); message.next();)
//     if (message.field() == 1) use(message.bytes());
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace heddle::text {

/// Walks the fields of one message. A field that is not asked for is skipped, and checked like the
/// others; groups, which no message here has, are refused.
class ProtobufReader {
 public:
  /// `offset` is where the message begins in the file `name`; both are for errors alone.
  ProtobufReader(std::string_view message, std::string_view name, size_t offset)
      : message_(message), name_(name), base_(offset) {}

  /// Goes to the next field; false at the end of the message.
  bool next();

  /// The number of the field and where its value stands in the file.
  uint32_t field() const { return field_; }
  size_t offset() const { return base_ + value_at_; }

  // The value, when the field's type is that one; `what` names the field in errors.
  std::string_view bytes(std::string_view what) const;
  uint64_t varint(std::string_view what) const;
  int32_t int32(std::string_view what) const;
  float float32(std::string_view what) const;
  bool boolean(std::string_view what) const { return varint(what) != 0; }

 private:
  enum class Wire : uint8_t { varint = 0, fixed64 = 1, bytes = 2, fixed32 = 5 };

  /// Most numbers are one byte.
  uint64_t read_varint(std::string_view what) {
    if (at_ < message_.size() && static_cast<uint8_t>(message_[at_]) < 0x80) {
      return static_cast<uint8_t>(message_[at_++]);
    }
    return read_long_varint(what);
  }
  uint64_t read_long_varint(std::string_view what);
  void expect(Wire wire, std::string_view what) const;

  std::string_view message_;
  std::string_view name_;
  size_t base_;
  size_t at_ = 0;        // where reading goes on
  size_t value_at_ = 0;  // where the present value begins
  uint32_t field_ = 0;
  Wire wire_ = Wire::varint;
  uint64_t number_ = 0;
  std::string_view bytes_;
};

}  // namespace heddle::text
