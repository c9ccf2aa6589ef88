// safetensors files: the cases ST-01 … ST-42 of hostile input, and what must be read.
#include "heddle/io/safetensors.h"

#include <sys/stat.h>

#include "heddle/io/json.h"
#include "tests/io/files.h"

namespace heddle::io {
namespace {

using testing::bytes_of;
using testing::expect_refused;
using testing::source_of;

std::string file_with(const std::string& header, const std::string& data = "") {
  return bytes_of(uint64_t{header.size()}) + header + data;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets,
                size_t data) {
  return file_with("{" + entry("w", dtype, shape, offsets) + "}", std::string(data, '\1'));
}

SafetensorsFile parse(const std::string& bytes) { return SafetensorsFile(source_of(bytes)); }

void refused(const std::string& bytes, std::initializer_list<const char*> parts) {
  const std::string message = expect_refused([&] { parse(bytes); }, parts, bytes.size());
  EXPECT_NE(message.find("bytes"), std::string::npos) << message;  // the file's name
}

TEST(Safetensors, ReadsWhatTheFormatSays) {
  const std::string data = bytes_of(1.5f) + bytes_of(-2.0f) + "\x07";
  const std::string bytes =
      file_with("{\"__metadata__\":{\"format\":\"pt\"}," + entry("a.w", "F32", "[1,2]", "[0,8]") +
                    "," + entry("b", "I8", "[]", "[8,9]") + "}",
                data);
  const SafetensorsFile file = parse(bytes);
  ASSERT_EQ(file.tensors().size(), 2u);
  const Tensor a = file.read(file.tensors()[0]);
  EXPECT_EQ(a.shape(), (Shape{1, 2}));
  EXPECT_EQ(a.data<float>()[1], -2.0f);
  EXPECT_EQ(*file.read(file.tensors()[1]).data<int8_t>(), 7);
  EXPECT_EQ(file.metadata().at("format"), "pt");
}

TEST(Safetensors, ST01Empty) { refused("", {"header length", "0 bytes left"}); }
TEST(Safetensors, ST02SevenBytes) { refused("1234567", {"header length", "7 bytes left"}); }
TEST(Safetensors, ST03HeaderBeyondTheFile) { refused(bytes_of(uint64_t{60}), {"found 60"}); }
TEST(Safetensors, ST04HugeHeader) {
  refused(bytes_of(uint64_t{0xffffffff0000003c}) + "{}", {"header length", "offset 0"});
}
TEST(Safetensors, ST05LengthsThatWrap) {
  for (const uint64_t length : {~uint64_t{0}, ~uint64_t{7}, uint64_t{1} << 63}) {
    refused(bytes_of(length) + "{}", {"header length"});
  }
}
TEST(Safetensors, ST07NotUtf8) { refused(file_with("\xff{}"), {"header", "line 1"}); }
TEST(Safetensors, ST08OpenBrace) { refused(file_with("{ "), {"header"}); }
TEST(Safetensors, ST09NotAnObject) {
  for (const char* header : {"[]", "1 ", "null", "\"x\""})
    refused(file_with(header), {"an object"});
}
TEST(Safetensors, ST10NoHeader) { refused(file_with(""), {"found 0"}); }

TEST(Safetensors, ST11Overlaps) {
  std::string header = "{";
  for (int i = 0; i < 10; ++i) {
    header += (i > 0 ? "," : "") + entry("t" + std::to_string(i), "F32", "[2,2]", "[0,16]");
  }
  refused(file_with(header + "}", std::string(16, 'x')), {"data_offsets", "found a begin of 0"});
}
TEST(Safetensors, ST12Hole) {
  refused(file_with(
              "{" + entry("a", "I8", "[1]", "[0,1]") + "," + entry("b", "I8", "[1]", "[2,3]") + "}",
              "abc"),
          {"'b'", "found a begin of 2; expected 1"});
}
TEST(Safetensors, ST13FirstNotAtZero) { refused(one("I8", "[1]", "[1,2]", 2), {"expected 0"}); }
TEST(Safetensors, ST14TrailingBytes) {
  refused(one("I8", "[1]", "[0,1]", 1) + "PK\x03\x04", {"data: found 5", "expected 1"});
}
TEST(Safetensors, ST15Truncated) { refused(one("I32", "[2]", "[0,8]", 6), {"found the number 8"}); }
TEST(Safetensors, ST16EndBeforeBegin) {
  refused(one("I8", "[1]", "[1,0]", 1), {"data_offsets[0]"});
}
TEST(Safetensors, ST17ShapeAgainstOffsets) {
  refused(one("I32", "[2,2]", "[0,4]", 4), {"found 4 bytes; expected 16"});
}
TEST(Safetensors, ST18HugeLength) {
  refused(one("I32", "[2,18446744073709551614]", "[0,4]", 4), {"shape[1]"});
}
TEST(Safetensors, ST19LengthsThatWrap) {
  refused(one("I32", "[2,9223372036854775807]", "[0,4]", 4), {"shape", "2^63"});
}
TEST(Safetensors, ST20UnknownType) {
  for (const char* dtype : {"F23", "", "f32"}) refused(one(dtype, "[1]", "[0,4]", 4), {"dtype"});
}
TEST(Safetensors, ST21Negative) {
  refused(one("I8", "[-1]", "[0,1]", 1), {"shape[0]", "-1"});
  refused(one("I8", "[1]", "[-1,1]", 1), {"data_offsets[0]"});
}
TEST(Safetensors, ST22NumbersThatAreNoLengths) {
  for (const char* length : {"1.0", "1e3", "01", "18446744073709551617", "\"1\"", "true"}) {
    refused(one("I8", std::string("[") + length + "]", "[0,1]", 1), {"header"});
  }
}
TEST(Safetensors, ST23DuplicateName) {
  refused(file_with("{" + entry("a", "F32", "[1]", "[0,4]") + "," +
                        entry("a", "I32", "[1]", "[0,4]") + "}",
                    "abcd"),
          {"'a' twice"});
}
TEST(Safetensors, ST24DuplicateNameElsewhere) {
  refused(file_with(
              "{" + entry("a", "I8", "[1]", "[0,1]") + "," + entry("a", "I8", "[1]", "[1,2]") + "}",
              "ab"),
          {"'a' twice"});
}
TEST(Safetensors, ST25Metadata) {
  refused(file_with("{\"__metadata__\":{},\"__metadata__\":{}}"), {"__metadata__ twice"});
  refused(file_with("{\"__metadata__\":{\"a\":1}}"), {"__metadata__: a", "expected text"});
  refused(file_with("{\"__metadata__\":{\"a\":{}}}"), {"expected text"});
  refused(file_with("{\"__metadata__\":[]}"), {"an object"});
}
TEST(Safetensors, ST26MissingFields) {
  refused(file_with("{\"w\":{\"shape\":[],\"data_offsets\":[0,0]}}"), {"dtype"});
  refused(file_with("{\"w\":{\"dtype\":\"I8\",\"data_offsets\":[0,0]}}"), {"shape"});
  refused(file_with("{\"w\":{\"dtype\":\"I8\",\"shape\":[]}}"), {"data_offsets"});
}
TEST(Safetensors, ST27OffsetsOfOtherLength) {
  for (const char* offsets : {"[]", "[0]", "[0,1,1]", "0"}) {
    refused(one("I8", "[1]", offsets, 1), {"data_offsets", "two offsets"});
  }
}
TEST(Safetensors, ST28UnknownField) {
  refused(file_with("{\"w\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":1}}", "a"),
          {"x", "no field of this name"});
}
TEST(Safetensors, ST29Names) {
  refused(file_with("{" + entry("a\\u0000b", "I8", "[1]", "[0,1]") + "}", "a"), {"control"});
  refused(file_with("{" + entry("a\\nb", "I8", "[1]", "[0,1]") + "}", "a"), {"control"});
  refused(file_with("{" + entry("", "I8", "[1]", "[0,1]") + "}", "a"), {"name"});
  refused(file_with("{" + entry(std::string(1 << 20, 'n'), "I8", "[1]", "[0,1]") + "}", "a"),
          {"of 1048576 bytes"});
  // No name is ever a path: this one is as good as any.
  EXPECT_EQ(parse(file_with("{" + entry("../x", "I8", "[1]", "[0,1]") + "}", "a")).tensors().size(),
            1u);
}
TEST(Safetensors, ST30ManyTensors) {
  std::string header = "{";
  for (int i = 0; i < 100'000; ++i) {
    header += (i > 0 ? "," : "") + entry("t" + std::to_string(i), "U8", "[0]", "[0,0]");
  }
  EXPECT_EQ(parse(file_with(header + "}")).tensors().size(), 100'000u);
  const std::string more = header + "," + entry("more", "U8", "[0]", "[0,0]") + "}";
  EXPECT_THROW(parse(file_with(more)), Error);
}
TEST(Safetensors, ST32Nesting) {
  refused(file_with("{\"w\":" + std::string(100'000, '[') + "}"), {"more than 64"});
}
TEST(Safetensors, ST33BitsThatFillNoByte) {
  refused(one("F4", "[1,3]", "[0,2]", 2), {"unsupported"});
}
TEST(Safetensors, ST34UnsupportedTypes) {
  for (const char* dtype : {"F8_E4M3", "F8_E5M2", "F6_E2M3", "F4", "C64", "U64", "BOOL"}) {
    refused(one(dtype, "[8]", "[0,8]", 8), {"unsupported"});
  }
}
TEST(Safetensors, ST35Rank) {
  std::string shape = "[1";
  for (int i = 1; i < 100'000; ++i) shape += ",1";
  refused(one("I8", shape + "]", "[0,1]", 1), {"shape", "at most 6"});
}
TEST(Safetensors, ST36EmptyTensorInsideAnother) {
  refused(file_with(
              "{" + entry("a", "I8", "[4]", "[0,4]") + "," + entry("z", "I8", "[0]", "[2,2]") + "}",
              "abcd"),
          {"'z'", "expected 4"});
}
TEST(Safetensors, ST37LoneSurrogate) {
  refused(file_with("{" + entry("\\ud800", "I8", "[1]", "[0,1]") + "}", "a"), {"surrogate"});
}

TEST(Safetensors, STA1EmptyAndMetadataOnly) {
  EXPECT_TRUE(parse(file_with("{}      ")).tensors().empty());
  EXPECT_EQ(parse(file_with("{\"__metadata__\":{\"a\":\"b\"}}")).metadata().size(), 1u);
}
TEST(Safetensors, STA2Spaces) {
  EXPECT_TRUE(parse(file_with("{}\r \t\n ")).tensors().empty());
  EXPECT_TRUE(parse(file_with("  {} ")).tensors().empty());
}
TEST(Safetensors, STA3EmptyShapes) {
  EXPECT_EQ(parse(one("F32", "[2,0]", "[0,0]", 0)).tensors()[0].shape, (Shape{2, 0}));
  EXPECT_EQ(parse(one("F32", "[]", "[0,4]", 4)).tensors()[0].shape.rank(), 0);
}
TEST(Safetensors, STA4AnyOrderAnyLength) {
  const std::string bytes = file_with(
      "{" + entry("a", "I8", "[1]", "[1,2]") + "," + entry("b", "I8", "[1]", "[0,1]") + "} ", "xy");
  const SafetensorsFile file = parse(bytes);
  EXPECT_EQ(file.tensors()[0].name, "b");
  EXPECT_EQ(*file.read(file.tensors()[1]).data<int8_t>(), 'y');
}
TEST(Safetensors, STA5NotFinite) {
  const std::string data = bytes_of(std::numeric_limits<float>::quiet_NaN());
  EXPECT_EQ(parse(file_with("{" + entry("w", "F32", "[1]", "[0,4]") + "}", data)).tensors().size(),
            1u);
}

TEST(Safetensors, EveryTruncationIsRefused) {
  const std::string file = one("F32", "[2]", "[0,8]", 8);
  for (size_t length = 0; length < file.size(); ++length) refused(file.substr(0, length), {});
}

class SafetensorsFolder : public testing::FolderTest {};

TEST_F(SafetensorsFolder, ST06HeaderBeyondTheCap) {
  const std::string name = write("big.safetensors", bytes_of(uint64_t{100'000'001}));
  std::filesystem::resize_file(name, 100'000'100);  // sparse
  expect_refused([&] { SafetensorsModel model(name); }, {"header length", "big.safetensors"});
}

TEST_F(SafetensorsFolder, ST31TenMillionEntries) {
  // Such a header is longer than the cap: refused before it is read.
  const std::string name = write("many.safetensors", bytes_of(uint64_t{450'000'000}) + "{");
  std::filesystem::resize_file(name, 460'000'000);
  expect_refused([&] { SafetensorsModel model(name); }, {"header length"});
}

TEST_F(SafetensorsFolder, ST38TruncatedAfterOpening) {
  const std::string name = write("w.safetensors", one("I8", "[100000]", "[0,100000]", 100'000));
  const SafetensorsModel model(name);
  std::filesystem::resize_file(name, 5000);
  const SafetensorsFile& file = model.files()[0];
  expect_refused([&] { file.read(file.tensors()[0]); }, {"w.safetensors", "its end"});
}

TEST_F(SafetensorsFolder, ST39NotARegularFile) {
  const auto open = [](const std::string& name) {
    return [name] { SafetensorsModel model(name); };
  };
  expect_refused(open(folder_), {"a directory"});
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  expect_refused(open(path("pipe")), {"a pipe"});
  expect_refused(open("/dev/zero"), {"a device"});
  std::filesystem::create_symlink(path("loop"), path("loop"));
  expect_refused(open(path("loop")), {"loop", "cannot be opened"});
  expect_refused(open(path("missing")), {"No such file"});
  if (::geteuid() != 0) {  // root reads everything
    ::chmod(write("secret", "x").c_str(), 0);
    expect_refused(open(path("secret")), {"Permission denied"});
  }
}

TEST_F(SafetensorsFolder, ST40ShardsElsewhere) {
  for (const char* shard : {"../../etc/passwd", "/etc/passwd", "a/b", "", "..", "a\\\\b"}) {
    const std::string index = "{\"weight_map\":{\"w\":\"" + std::string(shard) + "\"}}";
    const std::string name = write("model.safetensors.index.json", index);
    expect_refused([&] { SafetensorsModel model(name); }, {"weight_map", "beside the index"});
  }
}

TEST_F(SafetensorsFolder, ST41ShardsThatDoNotFit) {
  const std::string w = file_with("{" + entry("w", "I8", "[1]", "[0,1]") + "}", "a");
  const std::string v = file_with("{" + entry("v", "I8", "[1]", "[0,1]") + "}", "a");
  const auto load = [&](const std::string& index) {
    const std::string name = write("i.index.json", "{\"weight_map\":" + index + "}");
    return SafetensorsModel(name);
  };
  write("1.st", w);
  write("2.st", v);
  EXPECT_EQ(load("{\"w\":\"1.st\",\"v\":\"2.st\"}").files().size(), 2u);
  expect_refused([&] { load("{\"w\":\"1.st\",\"v\":\"3.st\"}"); }, {"'3.st'", "beside the index"});
  expect_refused([&] { load("{\"w\":\"2.st\",\"v\":\"1.st\"}"); }, {"expected it in"});
  expect_refused([&] { load("{\"w\":\"1.st\",\"v\":\"2.st\",\"u\":\"2.st\"}"); }, {"no 'u'"});
  expect_refused(
      [&] {
        load("{\"w\":\"1.st\"}");
        write("2.st", w);
        load("{\"w\":\"1.st\",\"v\":\"2.st\"}");
      },
      {"'w'", "expected it in '1.st'"});
  expect_refused([&] { load("{\"w\":1}"); }, {"expected text"});
  expect_refused([&] { load("[]"); }, {"an object"});
}

TEST_F(SafetensorsFolder, WhatIsWrittenIsReadBack) {
  Tensor f = Tensor::empty({2, 3}, DType::f32), i = Tensor::empty({5}, DType::i8);
  for (int k = 0; k < 6; ++k) f.data<float>()[k] = 0.1f * static_cast<float>(k);
  for (int k = 0; k < 5; ++k) i.data<int8_t>()[k] = static_cast<int8_t>(k - 3);
  write_safetensors(path("w.safetensors"),
                    {{"a", i}, {"b\"\\é", f}, {"c", Tensor::empty({0}, DType::bf16)}},
                    {{"k", "v"}});
  const SafetensorsModel model(path("w.safetensors"));
  const SafetensorsFile& file = model.files()[0];
  ASSERT_EQ(file.tensors().size(), 3u);
  for (const TensorEntry& entry : file.tensors()) {
    const Tensor tensor = file.read(entry);
    EXPECT_EQ(entry.offset % size_of(entry.dtype), 0u) << entry.name;
    const Tensor& expected = entry.name == "a" ? i : f;
    EXPECT_TRUE(entry.bytes == 0 || std::memcmp(tensor.raw(), expected.raw(), entry.bytes) == 0);
  }
  EXPECT_EQ(file.metadata().at("k"), "v");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder_), {}), 1);  // no temporary
}

}  // namespace
}  // namespace heddle::io
