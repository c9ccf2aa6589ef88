// GGUF files: the cases GG-01 … GG-50 of hostile input that concern the container, and GG-A1 …
// GG-A7.
#include "heddle/io/gguf.h"

#include <cmath>
#include <limits>
#include <random>

#include "tests/io/gguf_bytes.h"

namespace heddle::io {
namespace {

using namespace testing::gguf;
using testing::bytes_of;
using testing::expect_refused;
using testing::source_of;

GgufFile parse(const std::string& bytes) { return GgufFile(source_of(bytes)); }

void refused(const std::string& bytes, std::initializer_list<const char*> parts) {
  const std::string message = expect_refused([&] { parse(bytes); }, parts, bytes.size());
  EXPECT_TRUE(message.starts_with("gguf: bytes: ")) << message;
  EXPECT_NE(message.find("(offset "), std::string::npos) << message;
}

std::string alignment(uint32_t value) { return pair("general.alignment", kU32, bytes_of(value)); }

/// A file of one tensor.
std::string one(const std::vector<uint64_t>& lengths, uint32_t type, size_t data) {
  return file({}, {entry("w", lengths, type)}, std::string(data, '\1'));
}

TEST(Gguf, ReadsWhatTheFormatSays) {
  const std::string w = bytes_of(1.5f) + bytes_of(-2.0f);
  const std::string v = bytes_of(uint16_t{0x3c00});
  const std::string bytes =
      file({pair("general.architecture", kString, text("gemma3")), pair("n", kI8, "\xfe"),
            pair("tokens", kArray, array(kString, 2, text("a") + text("")))},
           {entry("a.w", {2, 1}), entry("b", {1}, 1, 32)}, padded(w) + v);
  const GgufFile opened = parse(bytes);
  EXPECT_EQ(opened.version(), 3u);
  EXPECT_EQ(opened.text("general.architecture"), "gemma3");
  EXPECT_EQ(opened.integer("n", -2, 5), -2);
  EXPECT_EQ(opened.texts("tokens")[0], "a");
  ASSERT_EQ(opened.tensors().size(), 2u);
  const Tensor a = opened.read(*opened.find_tensor("a.w"));
  EXPECT_EQ(a.shape(), (Shape{1, 2}));
  EXPECT_EQ(a.data<float>()[1], -2.0f);
  EXPECT_EQ(opened.read(opened.tensors()[1]).data<float>()[0], 1.0f);
  EXPECT_EQ(opened.find_tensor("c"), nullptr);
}

TEST(Gguf, ValuesAreAskedForByType) {
  const std::string bytes =
      file({pair("big", kU64, bytes_of(~uint64_t{0})), pair("f", kF32, bytes_of(0.5f)),
            pair("s", kString, text("x")), pair("scores", kArray, array(kU8, 2, "ab"))});
  const GgufFile opened = parse(bytes);
  const auto fails = [](auto call, std::initializer_list<const char*> parts) {
    expect_refused([&] { call(); }, parts);
  };
  fails([&] { opened.integer("big", 0, 9); },
        {"'big'", "the uint64 18446744073709551615", "0 … 9"});
  fails([&] { opened.integer("f", 0, 9); }, {"the float32 0.5", "an integer"});
  fails([&] { opened.number("s"); }, {"the string 'x'", "a float32"});
  fails([&] { opened.boolean("s"); }, {"expected a bool"});
  fails([&] { opened.text("f"); }, {"expected a string"});
  fails([&] { opened.array<float>("scores"); }, {"an array of 2 uint8", "an array of float32"});
  fails([&] { opened.texts("scores"); }, {"an array of string"});
  fails([&] { opened.text("none"); }, {"'none'", "found nothing"});
}

TEST(Gguf, GG01Magic) {
  for (const char* magic : {"FUGG", "ggml", "tjgg", "gguf"}) {
    refused(magic + header(3, 0, 0).substr(4), {"magic", "expected 'GGUF'"});
  }
  refused("", {"magic", "0 bytes left"});
}
TEST(Gguf, GG02VersionZero) { refused(header(0, 0, 0), {"version: found 0;", "2 or 3"}); }
TEST(Gguf, GG03VersionOne) { refused(header(1, 0, 0), {"version: found 1", "Hint"}); }
TEST(Gguf, GG04FutureVersion) {
  for (const uint32_t version : {4u, 99u, 0x7fffffffu, ~0u}) {
    refused(header(version, 0, 0), {"version", "which is later", "2 or 3"});
  }
}
TEST(Gguf, GG05TensorCount) {
  refused(header(3, ~uint64_t{0}, 0), {"tensor count: found 18446744073709551615"});
}
TEST(Gguf, GG06MetadataCount) {
  refused(header(3, 0, ~uint64_t{0}), {"metadata count: found 18446744073709551615"});
}
TEST(Gguf, GG07KeySize) {
  for (const uint64_t size : {~uint64_t{0}, uint64_t{1} << 63, uint64_t{65'536}, uint64_t{99}}) {
    refused(file({bytes_of(size) + std::string(14, 'k')}), {"key length"});
  }
}
TEST(Gguf, GG08EmptyKey) {
  refused(file({pair("", kU32, bytes_of(1u))}), {"key length: found 0; expected 1"});
}
TEST(Gguf, GG09ValueType) {
  for (const uint32_t type : {13u, ~0u, 0x80000000u}) {
    refused(file({pair("k", type, bytes_of(1u))}), {"'k': found the type", "0 … 12"});
  }
  refused(file({pair("k", kBool, "\2")}), {"'k': found the bool 2", "0 or 1"});
  refused(file({pair("k", kArray, array(kBool, 3, std::string("\1\0\3", 3)))}), {"the bool 3"});
}
TEST(Gguf, GG10DuplicateKey) {
  refused(file({pair("k", kU8, "a"), pair("j", kU8, "a"), pair("k", kI8, "a")}), {"'k' twice"});
}
TEST(Gguf, GG11Alignment) {
  refused(file({alignment(13)}), {"'general.alignment': found the uint32 13", "power of two of 8"});
}
TEST(Gguf, GG12AlignmentOfAnotherType) {
  refused(file({pair("general.alignment", kI32, bytes_of(32))}), {"the int32 32", "a uint32"});
  refused(file({pair("general.alignment", kString, text("32"))}), {"the string '32'"});
}
TEST(Gguf, GG13NameSize) {
  refused(file({}, {entry(std::string(65, 'n'), {1})}, "abcd"), {"tensor name length: found 65"});
  refused(file({}, {entry("", {1}) + "abcd"}), {"tensor name length: found 0"});
}
TEST(Gguf, GG14FiveAxes) { refused(one({1, 1, 1, 1, 1}, 0, 4), {"'w': shape", "rank 5"}); }
TEST(Gguf, GG15NegativeLength) {
  refused(one({~uint64_t{0}}, 0, 4), {"'w': shape", "the length 18446744073709551615"});
}
TEST(Gguf, GG16TooManyElements) {
  refused(one({uint64_t{1} << 62}, 0, 4), {"'w': shape", "fewer than 2^60"});
  refused(one({uint64_t{1} << 32, uint64_t{1} << 32}, 0, 4), {"'w': shape"});
}
TEST(Gguf, GG17TooManyBytes) {
  refused(one({uint64_t{1} << 59}, 0, 4), {"'w': data", "at least 2305843009213693952"});
}
TEST(Gguf, GG18TensorType) {
  for (const uint32_t type : {42u, 1000u, ~0u}) {
    refused(one({32}, type, 99), {"'w': type: found the type", "a type that the format has"});
  }
}
TEST(Gguf, GG19Offset) {
  for (const uint64_t offset : {uint64_t{32}, uint64_t{1}, ~uint64_t{0}}) {
    refused(file({}, {entry("w", {1}, 0, offset)}, std::string(64, 'x')),
            {"'w': offset: found", "expected 0, where the tensor before ends"});
  }
}
TEST(Gguf, GG20DuplicateName) {
  refused(file({}, {entry("w", {1}), entry("v", {1}, 0, 32), entry("w", {1}, 0, 64)},
               std::string(96, 'x')),
          {"tensor name: found 'w' twice"});
}
TEST(Gguf, GG21AlignmentOfTensors) {
  refused(file({alignment(24)}, {entry("w", {1}), entry("v", {1}, 0, 24)}, std::string(48, 'x')),
          {"'general.alignment': found the uint32 24"});
}
TEST(Gguf, GG22AnotherAlignmentThanSaid) {
  refused(file({alignment(64)}, {entry("w", {1}), entry("v", {1}, 0, 32)}, std::string(64, 'x')),
          {"'v': offset: found 32; expected 64"});
}
TEST(Gguf, GG23NotEnoughData) {
  refused(one({64}, 0, 255), {"'w': data", "Hint: the download"});
  refused(file({}, {entry("w", {1})}), {"'w': data"});
}
TEST(Gguf, GG24DataAlignment) {
  refused(file({alignment(0)}, {entry("w", {1})}, "abcd"), {"the uint32 0"});
}
TEST(Gguf, GG25DataOfAnotherAlignment) {
  // Said is 1024, padded is to 32: the data would end beyond the file.
  refused(file({alignment(1024)}, {entry("w", {1})}, "abcd"), {"'w': data"});
}
TEST(Gguf, GG26MemoryThatWraps) {
  std::vector<std::string> entries;
  for (const char* name : {"a", "b", "c", "d"}) entries.push_back(entry(name, {1ull << 60}, 24));
  refused(file({}, entries, "x"), {"'a': shape"});
  entries.clear();
  for (const char* name : {"a", "b", "c", "d"}) entries.push_back(entry(name, {1ull << 59}, 24));
  refused(file({}, entries, "x"), {"'a': data"});
}

TEST(Gguf, GG27StringLength) {
  for (const uint64_t length :
       {~uint64_t{0}, uint64_t{1} << 63, uint64_t{4}, (uint64_t{1} << 30) + 1}) {
    refused(file({pair("k", kString, bytes_of(length) + "abc")}), {"'k'", "3 bytes left"});
    refused(file({pair("k", kArray, array(kString, 1, bytes_of(length) + "abc"))}),
            {"'k'", "3 bytes left"});
  }
}
TEST(Gguf, GG28ArrayCount) {
  for (const uint64_t count : {~uint64_t{0}, uint64_t{1} << 62, uint64_t{1} << 61, uint64_t{3}}) {
    refused(file({pair("k", kArray, array(kF32, count, "12345678"))}),
            {"'k'", "at most 2 float32"});
  }
  refused(file({pair("k", kArray, array(kU8, (1 << 24) + 1, std::string((1 << 24) + 1, 'x')))}),
          {"at most 16777216"});
}
TEST(Gguf, GG29ArrayOfStrings) {
  refused(file({pair("k", kArray, array(kString, 4, std::string(31, '\0')))}),
          {"'k': found 4 elements", "at most 3 string"});
}
TEST(Gguf, GG30ArraysOfArrays) {
  std::string nested;
  for (int i = 0; i < 10'000; ++i) nested += array(kArray, 1);
  refused(file({pair("k", kArray, nested)}), {"'k': found an array of arrays"});
}
TEST(Gguf, GG31ElementType) {
  for (const uint32_t type : {13u, ~0u, 0x80000000u}) {
    refused(file({pair("k", kArray, array(type, 1, "abcd"))}), {"'k': found the type", "0 … 12"});
  }
}
TEST(Gguf, GG32Rank) {
  refused(file({}, {text("w") + bytes_of(~0u) + std::string(99, '\1')}), {"rank 4294967295"});
}
TEST(Gguf, GG33LengthsThatWrap) {
  const uint64_t length = (uint64_t{1} << 42) + 1;
  refused(one({length, uint64_t{1} << 22}, 0, 64), {"'w': shape", "fewer than 2^60"});
  refused(one({0, length, uint64_t{1} << 22}, 0, 64), {"'w': shape"});
}
TEST(Gguf, GG34BytesThatWrapWhenPadded) {
  for (const uint64_t below : {1, 16, 31}) {
    refused(file({}, {entry("a", {~uint64_t{0} - below + 1}, 24), entry("b", {1}, 24)}, "x"),
            {"'a': shape"});
    const uint64_t largest = (uint64_t{1} << 60) - below;
    refused(file({}, {entry("a", {largest}, 24), entry("b", {1}, 24)}, "x"), {"'a': data"});
  }
}
TEST(Gguf, GG35CountsThatWrap) {
  for (const uint64_t count : {uint64_t{1} << 60, uint64_t{1} << 56, (~uint64_t{0} / 136) + 1}) {
    refused(header(3, count, 0) + std::string(64, '\1'), {"tensor count"});
    refused(header(3, 0, count) + std::string(64, '\1'), {"metadata count"});
  }
}
TEST(Gguf, GG36Alignments) {
  for (const uint32_t value : {0u, 4u, (1u << 20) + 32, 1u << 21, 1u << 31, ~0u}) {
    refused(file({alignment(value)}), {"'general.alignment'", "8 … 1048576"});
  }
}
TEST(Gguf, GG37RemovedTypes) {
  for (const uint32_t type : {4u, 5u, 31u, 32u, 33u, 36u, 37u, 38u}) {
    refused(one({32}, type, 99), {"'w': type: found the type"});
  }
}
TEST(Gguf, GG38RowsAndBlocks) {
  refused(one({31, 32}, 8, 999), {"Q8_0 with rows of 31", "a multiple of 32"});
  refused(one({128, 2}, 12, 999), {"Q4_K with rows of 128", "a multiple of 256"});
  refused(one({}, 8, 999), {"Q8_0 with rows of 1"});
}
TEST(Gguf, GG45EveryTruncationIsRefused) {
  const std::string whole =
      file({pair("a", kString, text("gemma")), pair("b", kArray, array(kString, 1, text("x")))},
           {entry("w", {32, 4}, 8), entry("v", {4}, 0, 160)}, std::string(176, '\1'));
  ASSERT_EQ(parse(whole).tensors().size(), 2u);
  for (size_t length = 0; length < whole.size(); ++length) refused(whole.substr(0, length), {});
  refused(padded(whole) + "x", {"end", "1 bytes after the last tensor"});
}
TEST(Gguf, GG46ManyEntries) {
  std::string many = header(3, 200'000, 200'000);
  for (int i = 0; i < 200'000; ++i) many += pair("k" + std::to_string(i), kU8, "\1");
  for (int i = 0; i < 200'000; ++i) many += entry("t" + std::to_string(i), {0});
  const auto start = std::chrono::steady_clock::now();
  const GgufFile opened = parse(many);
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  EXPECT_LE(took.count(), testing::kSanitized ? 60.0 : 2.0);
  EXPECT_EQ(opened.tensors().size(), 200'000u);
  EXPECT_EQ(opened.integer("k199999", 0, 9), 1);
  refused(header(3, 300'000, 0) + std::string(300'000 * 25, '\1'), {"at most 262144"});
}
TEST(Gguf, GG47ByteSwapped) {
  refused("GGUF" + bytes_of(0x03000000u) + bytes_of(uint64_t{0}) + bytes_of(uint64_t{0}),
          {"version: found 3 in big-endian order", "Hint"});
}
TEST(Gguf, GG49Names) {
  const std::string one_megabyte(1 << 20, 'k');
  refused(file({pair(std::string("a\0b", 3), kU8, "x")}), {"key: found 'a\\x00b'", "ASCII"});
  refused(file({pair("\xff\xfe", kU8, "x")}), {"key: found '\\xff\\xfe'"});
  refused(file({pair(one_megabyte, kU8, "x")}), {"key length: found 1048576"});
  refused(file({}, {entry("a\nb", {1})}, "abcd"), {"tensor name: found 'a\\x0ab'"});
  EXPECT_EQ(parse(file({pair(std::string(65'535, 'k'), kU8, "x")})).metadata().size(), 1u);
}

TEST(Gguf, GGA1EmptyHeader) {
  for (const uint32_t version : {2u, 3u}) {
    EXPECT_TRUE(parse(header(version, 0, 0)).tensors().empty());
    EXPECT_TRUE(parse(padded(header(version, 0, 0))).metadata().empty());
  }
}
TEST(Gguf, GGA2RandomMetadata) {
  std::mt19937 random(1);
  const size_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  std::vector<std::string> pairs;
  for (int i = 0; i < 500; ++i) {
    const uint32_t type = random() % 13, element = random() % 8;
    const uint64_t count = random() % 20;
    std::string value(sizes[type], static_cast<char>(random() & 1));
    if (type == kString) value = text(std::string(count, '\xff'));
    if (type == kArray) value = array(element, count, std::string(count * sizes[element], '\1'));
    pairs.push_back(pair("key" + std::to_string(i), type, value));
  }
  const GgufFile opened = parse(file(pairs));
  EXPECT_EQ(opened.metadata().size(), pairs.size());
  for (const GgufPair& found : opened.metadata()) EXPECT_FALSE(found.description().empty());
}
TEST(Gguf, GGA3NoElementsAndNoAxes) {
  const std::string bytes =
      file({}, {entry("none", {0, 3}, 8), entry("scalar", {}, 0), entry("last", {0}, 0, 32)},
           bytes_of(2.5f));
  const GgufFile opened = parse(bytes);
  EXPECT_EQ(opened.read(opened.tensors()[0]).shape(), (Shape{3, 0}));
  EXPECT_EQ(opened.read(opened.tensors()[1]).data<float>()[0], 2.5f);
  EXPECT_EQ(opened.read_rows(opened.tensors()[1], 0, 1).elements(), 1);
  EXPECT_EQ(opened.read(opened.tensors()[2]).elements(), 0);
}
TEST(Gguf, GGA4ToA7TensorsInAnyAlignment) {
  for (const uint32_t step : {8u, 32u, 64u, 4096u}) {
    std::mt19937 random(step);
    std::vector<std::string> entries;
    std::string data;
    for (int i = 0; i < 50; ++i) {
      data = padded(data, step);
      const uint64_t width = 1 + random() % 20, rows = 1 + random() % 3;
      entries.push_back(entry("t" + std::to_string(i), {width, rows}, 0, data.size()));
      for (uint64_t k = 0; k < width * rows; ++k) data += bytes_of(static_cast<float>(i));
    }
    const std::string bytes = file({alignment(step)}, entries, data, step);
    const GgufFile opened = parse(bytes);
    EXPECT_EQ(opened.alignment(), step);
    for (int i = 0; i < 50; ++i) {
      const GgufTensor* tensor = opened.find_tensor("t" + std::to_string(i));
      ASSERT_NE(tensor, nullptr);
      EXPECT_EQ(tensor->offset % step, 0u);
      const Tensor values = opened.read(*tensor);
      EXPECT_EQ(values.data<float>()[values.elements() - 1], static_cast<float>(i));
    }
  }
}

}  // namespace
}  // namespace heddle::io
