// Marian's binary files: the cases MB-01 … MB-09 of hostile input (MB-10 and MB-11 are about what
// the tensors mean: tests/model/marian_test.cpp).
#include "heddle/io/marian_binary.h"

#include "tests/io/files.h"

namespace heddle::io {
namespace {

using testing::bytes_of;
using testing::expect_refused;
using testing::source_of;

struct Item {
  std::string name;
  uint64_t type;
  std::vector<int32_t> shape;
  std::string data;
};

/// A file of these items, well-formed unless the items are not.
std::string file_of(const std::vector<Item>& items) {
  std::string file = bytes_of(uint64_t{1}) + bytes_of(uint64_t{items.size()});
  for (const Item& item : items) {
    file += bytes_of(uint64_t{item.name.size() + 1}) + bytes_of(item.type) +
            bytes_of(uint64_t{item.shape.size()}) + bytes_of(uint64_t{item.data.size()});
  }
  for (const Item& item : items) file += item.name + '\0';
  for (const Item& item : items) {
    for (const int32_t length : item.shape) file += bytes_of(length);
  }
  const size_t padding = (256 - (file.size() + 8) % 256) % 256;
  file += bytes_of(uint64_t{padding}) + std::string(padding, '\0');
  for (const Item& item : items) file += item.data;
  return file;
}

std::string padded(std::string data) {
  data.resize((data.size() + 255) / 256 * 256);
  return data;
}

std::vector<Item> plain() {
  return {{"W", 0x0404, {1, 2}, padded(bytes_of(1.0f) + bytes_of(2.0f))},
          {"Q", 0x4101, {2, 2}, padded("\x01\x02\x03\x04" + bytes_of(12.7f))},
          {"special:model.yml", 0x0101, {4}, std::string("a: 1", 4)}};
}

MarianBinary parse(const std::string& bytes) { return MarianBinary(source_of(bytes)); }

void refused(const std::string& bytes, std::initializer_list<const char*> parts) {
  const std::string message = expect_refused([&] { parse(bytes); }, parts, bytes.size());
  EXPECT_EQ(message.rfind("marian: bytes: ", 0), 0u) << message;
}

/// The plain file with the number at an offset replaced.
std::string patched(size_t offset, uint64_t value) {
  std::string file = file_of(plain());
  return file.replace(offset, 8, bytes_of(value));
}

constexpr size_t kFirst = 16;  // the first header: name length, type, rank, data length

TEST(MarianBinary, ReadsFloatsIntegersAndIntgemm) {
  const std::string bytes = file_of(plain());
  EXPECT_TRUE(MarianBinary::recognises(source_of(bytes)));
  const MarianBinary file = parse(bytes);
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.read(file.tensors()[0]).data<float>()[1], 2.0f);
  EXPECT_TRUE(file.tensors()[1].is_intgemm8);
  EXPECT_EQ(file.tensors()[1].multiplier, 12.7f);
  EXPECT_EQ(file.read(file.tensors()[1]).data<int8_t>()[3], 4);
  EXPECT_EQ(file.tensors()[2].type, "int8");
}

TEST(MarianBinary, MB01StartsThatAreNone) {
  refused("", {"version"});
  refused(bytes_of(uint64_t{1}) + "1234567", {"tensor count"});
  for (const uint64_t version : {uint64_t{0}, uint64_t{2}, uint64_t{0x636e65}, ~uint64_t{0}}) {
    refused(patched(0, version), {"version", "expected 1", "offset 0"});
  }
}
TEST(MarianBinary, MB02TensorCounts) {
  for (const uint64_t count : {~uint64_t{0}, uint64_t{1} << 59, uint64_t{100'001}}) {
    refused(patched(8, count), {"tensor count", "offset 8"});
  }
}
TEST(MarianBinary, MB03NameLengths) {
  for (const uint64_t length : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}, uint64_t{5000}}) {
    refused(patched(kFirst, length), {"name length", "offset 16"});
  }
  refused(patched(kFirst, 3), {"name"});  // no NUL where the name should end
  std::vector<Item> items = plain();
  items[0].name = std::string("a\0b", 3);
  refused(file_of(items), {"without NUL"});
}
TEST(MarianBinary, MB04Shapes) {
  for (const uint64_t rank : {uint64_t{1} << 63, ~uint64_t{0}, uint64_t{7}}) {
    refused(patched(kFirst + 16, rank), {"rank", "at most 6"});
  }
  std::vector<Item> items = plain();
  items[0].shape = {-1, 2};
  refused(file_of(items), {"shape of 'W'", "found -1"});
  items[0].shape = {3, 1000};
  refused(file_of(items), {"data of 'W'", "float32 [3, 1000]"});
  items[0].shape = {1, 1};
  EXPECT_EQ(parse(file_of(items)).tensors()[0].bytes, 4u);  // within the padding
  items[0].shape = {0, 2147483647, 2147483647, 2147483647};
  refused(file_of(items), {"2^63"});
}
TEST(MarianBinary, MB05DataLengths) {
  for (const uint64_t length : {~uint64_t{0}, uint64_t{1} << 63, uint64_t{512}, uint64_t{7}}) {
    refused(patched(kFirst + 24, length), {"data of 'W'", "offset"});
  }
  std::vector<Item> items = plain();
  items[2].data += "x";  // more than its shape, less than a unit: padding
  EXPECT_EQ(parse(file_of(items)).tensors().size(), 3u);
  refused(file_of(plain()) + "x", {"end", "1 bytes after"});
}
TEST(MarianBinary, MB06Padding) {
  const std::string file = file_of(plain());
  const size_t at = file.find(std::string("a: 1")) - 512 - 8;
  size_t offset = 0;  // of the padding's length: the last before the data that is a multiple of 256
  for (size_t i = 16; i + 8 < file.size() && offset == 0; ++i) {
    uint64_t value = 0;
    std::memcpy(&value, file.data() + i, 8);
    if (value > 0 && value < 256 && (i + 8 + value) % 256 == 0 && i > kFirst + 96) offset = i;
  }
  ASSERT_GT(offset, 0u);
  ASSERT_LE(offset, at);
  for (const uint64_t padding : {~uint64_t{0}, ~uint64_t{255}, uint64_t{1}, uint64_t{1} << 40}) {
    std::string damaged = file;
    damaged.replace(offset, 8, bytes_of(padding));
    refused(damaged, {"padding", "multiple of 256"});
  }
}
TEST(MarianBinary, MB07Types) {
  for (const uint64_t type : {uint64_t{0}, ~uint64_t{0}, uint64_t{0x0405}}) {
    refused(patched(kFirst + 8, type), {"'W'", "type 0x"});
  }
  for (const auto& [type, name] :
       {std::pair{0x1801, "packed8avx2"}, {0x4102, "intgemm16"}, {0x0408, "float64"}}) {
    refused(patched(kFirst + 8, static_cast<uint64_t>(type)), {"'W'", name, "Hint"});
  }
}
TEST(MarianBinary, MB08DuplicateNames) {
  std::vector<Item> items = plain();
  items[1].name = "W";
  refused(file_of(items), {"'W' twice"});
}
TEST(MarianBinary, MB09Truncations) {
  const std::string file = file_of(plain());
  for (size_t i = 0; i < 64; ++i) refused(file.substr(0, file.size() * i / 64), {"offset"});
}
TEST(MarianBinary, MultipliersThatScaleNothing) {
  for (const float multiplier : {0.0f, -1.0f, std::numeric_limits<float>::quiet_NaN(),
                                 std::numeric_limits<float>::infinity()}) {
    std::vector<Item> items = plain();
    items[1].data = padded("abcd" + bytes_of(multiplier));
    refused(file_of(items), {"multiplier of 'Q'", "offset"});
  }
}
TEST(MarianBinary, EveryFlippedByteIsReadOrRefused) {
  const std::string file = file_of(plain());
  for (size_t at = 0; at < 300; ++at) {
    for (const int flip : {1, 128, 255}) {
      std::string damaged = file;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      try {
        parse(damaged);
      } catch (const Error& error) {
        EXPECT_EQ(std::string(error.what()).rfind("marian: bytes: ", 0), 0u) << error.what();
      }
    }
  }
}

class MarianBinaryFolder : public testing::FolderTest {};

TEST_F(MarianBinaryFolder, WhatIsWrittenIsReadBack) {
  Tensor w = Tensor::empty({3, 5}, DType::f32), text = Tensor::empty({2}, DType::i8);
  for (int i = 0; i < 15; ++i) w.data<float>()[i] = static_cast<float>(i) / 7;
  text.data<int8_t>()[0] = 'x';
  text.data<int8_t>()[1] = 0;
  write_marian_binary(path("m.bin"), {{"W", w}, {std::string(kMarianOptions), text}});
  const MarianBinary file(Source(path("m.bin")));
  ASSERT_EQ(file.tensors().size(), 2u);
  EXPECT_EQ(file.tensors()[0].offset % 256, 0u);
  EXPECT_EQ(std::memcmp(file.read(file.tensors()[0]).raw(), w.raw(), 60), 0);
  EXPECT_EQ(*file.read(file.tensors()[1]).data<int8_t>(), 'x');
}

}  // namespace
}  // namespace heddle::io
