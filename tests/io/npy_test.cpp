// The reader of .npy files: what NumPy writes is read, and whatever else lies in a file is refused
// with a message that says what was found and what was expected.
#include "heddle/io/npy.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

namespace heddle::io {
namespace {

/// A file of the given format version around a header text.
std::string file_with(const std::string& header, const std::string& data, int version = 1) {
  std::string file = "\x93NUMPY";
  file += static_cast<char>(version);
  file += '\0';
  for (int byte = 0; byte < (version == 1 ? 2 : 4); ++byte) {
    file += static_cast<char>(header.size() >> (8 * byte) & 255);
  }
  return file + header + data;
}

std::string header_of(const std::string& descr, const std::string& shape,
                      const std::string& fortran = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }\n";
}

Tensor parse(const std::string& file) {
  return parse_npy(std::as_bytes(std::span(file.data(), file.size())));
}

template <typename T>
std::string bytes_of(std::initializer_list<T> values) {
  std::string bytes;
  for (const T value : values) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  return bytes;
}

/// The message with which the file is refused.
std::string refusal(const std::string& file) {
  try {
    parse(file);
  } catch (const Error& error) {
    return error.what();
  }
  return "accepted";
}

void expect_refused(const std::string& file, const std::string& part) {
  const std::string message = refusal(file);
  EXPECT_NE(message.find(part), std::string::npos) << "message: " << message;
  EXPECT_EQ(message.rfind("npy: bytes: ", 0), 0u) << "message: " << message;
  EXPECT_LE(message.size(), 512u);
  for (const char c : message) EXPECT_FALSE(c >= 0 && c < ' ') << "control byte in: " << message;
}

TEST(Npy, ReadsWhatNumpyWrites) {
  const Tensor tensor =
      parse(file_with(header_of("<i4", "(2, 3)"), bytes_of<int32_t>({1, 2, 3, -4, 5, 6})));
  EXPECT_EQ(tensor.shape(), (Shape{2, 3}));
  EXPECT_EQ(tensor.data<int32_t>()[3], -4);
}

TEST(Npy, ReadsEveryElementType) {
  const struct {
    const char* descr;
    DType dtype;
  } cases[] = {{"<f2", DType::f16}, {"<f4", DType::f32}, {"<f8", DType::f64},
               {"|i1", DType::i8},  {"<i1", DType::i8},  {"|u1", DType::u8},
               {"|b1", DType::u8},  {"<i4", DType::i32}, {"<i8", DType::i64}};
  for (const auto& [descr, dtype] : cases) {
    const std::string data(3 * size_of(dtype), '\1');
    const Tensor tensor = parse(file_with(header_of(descr, "(3,)"), data));
    EXPECT_EQ(tensor.dtype(), dtype) << descr;
    EXPECT_EQ(std::memcmp(tensor.raw(), data.data(), data.size()), 0) << descr;
  }
}

TEST(Npy, ReadsScalarsEmptyArraysAndSixAxes) {
  EXPECT_EQ(parse(file_with(header_of("<f4", "()"), bytes_of<float>({2.5f}))).data<float>()[0],
            2.5f);
  EXPECT_EQ(parse(file_with(header_of("<f4", "(0,)"), "")).elements(), 0);
  EXPECT_EQ(parse(file_with(header_of("<f4", "(3, 0, 5)"), "")).shape(), (Shape{3, 0, 5}));
  EXPECT_EQ(parse(file_with(header_of("|u1", "(1, 1, 1, 1, 1, 2)"), "ab")).rank(), 6);
}

// NZ-04: long headers, headers of versions 2 and 3, no newline.
TEST(Npy, NZ04HeaderForms) {
  const std::string data = bytes_of<int32_t>({7});
  const std::string padded =
      "{'descr': '<i4', 'fortran_order': False, 'shape': (1,), }" + std::string(4000, ' ') + "\n";
  for (const int version : {1, 2, 3}) {
    EXPECT_EQ(parse(file_with(padded, data, version)).data<int32_t>()[0], 7) << version;
  }
  const std::string reordered =
      "{ \"shape\" :(1 ,) , \"descr\":\"<i4\",\"fortran_order\":True}\n";  // one axis: either order
  EXPECT_EQ(parse(file_with(reordered, data)).data<int32_t>()[0], 7);

  const std::string header = header_of("<i4", "(1,)");
  expect_refused(file_with(header.substr(0, header.size() - 1), data), "a newline");
  expect_refused(file_with(header + "\n", data), "a newline after '}'");
  expect_refused(file_with(header + "x\n", data), "a newline after '}'");
  expect_refused(file_with(std::string(70'000, ' ') + header, data, 2), "at most 65536");
  expect_refused(file_with(header, data, 4), "version: found 4.0");
  expect_refused(file_with(header, data, 0), "version: found 0.0");
  std::string minor = file_with(header, data);
  minor[7] = 1;
  expect_refused(minor, "version: found 1.1");
}

TEST(Npy, NZ04HeaderText) {
  const auto refused = [](const std::string& header, const std::string& part) {
    expect_refused(file_with(header, ""), part);
  };
  refused("", "header: found its end; expected '{'");
  refused("{", "a quoted string");
  refused("{}\n", "no key; expected 'descr'");
  refused("{'descr': '<f4'}\n", "no key; expected 'fortran_order'");
  refused("{'descr': '<f4', 'fortran_order': False}\n", "no key; expected 'shape'");
  refused("{'descr': '<f4', 'descr': '<f4'}\n", "header key: found 'descr'");
  refused("{'colour': 1}\n", "header key: found 'colour'");
  refused("{'descr' '<f4'}\n", "expected ':'");
  refused("{'descr': '<f4' 'shape': ()}\n", "expected '}'");
  refused("{'descr': '<f4\n", "a quoted string");
  refused("{'fortran_order': Maybe}\n", "expected True or False");
  refused("{'fortran_order': 0}\n", "expected True or False");
  refused("{'\x1b[31m\xff': 1}\n", "\\x1b[31m\\xff");
  refused("{'" + std::string(60'000, 'k') + "': 1}\n", "…'");
}

// NZ-05: types that are not read are named.
TEST(Npy, NZ05ElementTypes) {
  const struct {
    const char* descr;
    const char* part;
  } cases[] = {{">f4", "big-endian"},  {"|O", "Python objects"}, {"<U8", "strings"},
               {"|S3", "strings"},     {"<M8[ns]", "dates"},     {"<c8", "complex numbers"},
               {"|V4", "raw bytes"},   {"", "not a type"},       {"<", "not a type"},
               {"<f16", "not a type"}, {"=i4", "not a type"},    {"|i4", "not a type"},
               {"<u4", "not a type"},  {"<i2", "not a type"},    {"f4", "not a type"}};
  for (const auto& [descr, part] : cases) {
    expect_refused(file_with(header_of(descr, "(1,)"), "12345678"), part);
  }
  expect_refused(file_with("{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': ()}\n", ""),
                 "a structured type");
  expect_refused(file_with(header_of("|b1", "(3,)"), std::string("\0\1\2", 3)),
                 "found 2 in a bool");
}

// NZ-06: shapes.
TEST(Npy, NZ06Shapes) {
  const auto refused = [](const std::string& shape, const std::string& part) {
    expect_refused(file_with(header_of("<f8", shape), ""), part);
  };
  refused("(-1,)", "shape: found '-1,)");
  refused("(", "shape: found ', }");
  refused("3", "expected '('");
  refused("(3)", "expected a tuple");
  refused("(3 4)", "expected ',' or ')'");
  refused("(,)", "shape: found ',)");
  refused("(3,,)", "shape: found ',)");
  refused("(3.0,)", "expected ',' or ')'");
  refused("(0x10,)", "expected ',' or ')'");
  refused("(True,)", "lengths of 0");
  refused("(9223372036854775808,)", "lengths of 0");
  refused("(9223372036854775807,)", "fewer than 2^63 bytes");
  refused("(4294967296, 4294967296)", "fewer than 2^63 bytes");
  refused("(0, 4294967296, 4294967296)", "fewer than 2^63 bytes");
  refused("(1, 1, 1, 1, 1, 1, 1)", "more than 6 axes");
  refused("(" + std::string(20'000, '1') + ",)", "lengths of 0");
  std::string ones = "(";
  for (int i = 0; i < 33; ++i) ones += "1, ";
  refused(ones + ")", "more than 6 axes");
  refused("(1099511627776,)", "truncated");  // 8 TiB that nobody may allocate
}

// NZ-07: Fortran order.
TEST(Npy, NZ07FortranOrder) {
  expect_refused(file_with(header_of("|u1", "(2, 2)", "True"), "abcd"), "numpy.ascontiguousarray");
  EXPECT_EQ(parse(file_with(header_of("|u1", "(2,)", "True"), "ab")).dim(0), 2);
}

TEST(Npy, RefusesTruncatedAndTrailingData) {
  const std::string header = header_of("<i4", "(2,)");
  const std::string file = file_with(header, bytes_of<int32_t>({1, 2}));
  for (size_t length = 0; length < file.size(); ++length) {
    expect_refused(file.substr(0, length), "found");
  }
  expect_refused(file + "x", "found 9 bytes after the header; expected 8 for i32 [2]");
  expect_refused(file.substr(0, file.size() - 1), "truncated file");
  expect_refused("PK\x03\x04 a zip archive", "magic");
}

TEST(Npy, EveryFlippedByteIsReadOrRefused) {
  const std::string file = file_with(header_of("|b1", "(2, 2)"), std::string("\0\1\1\0", 4), 3);
  for (size_t at = 0; at < file.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string damaged = file;
      damaged[at] = static_cast<char>(value);
      const std::string message = refusal(damaged);
      EXPECT_TRUE(message == "accepted" || message.rfind("npy: bytes: ", 0) == 0) << message;
    }
  }
}

class NpyFile : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::temp_directory_path() / ("heddle_npy_" + std::to_string(::getpid()));
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string path(const std::string& name) const { return folder_ / name; }

  std::string write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path(name), std::ios::binary) << bytes;
    return path(name);
  }

  static std::string refusal_of(const std::string& path) {
    try {
      read_npy(path);
    } catch (const Error& error) {
      return error.what();
    }
    return "accepted";
  }

  std::filesystem::path folder_;
};

TEST_F(NpyFile, ReadsAFileLongerThanTheLongestHeader) {
  std::string data(300'000, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7);
  const std::string file = write("long.npy", file_with(header_of("|u1", "(300000,)"), data));
  const Tensor tensor = read_npy(file);
  EXPECT_EQ(std::memcmp(tensor.raw(), data.data(), data.size()), 0);
  std::filesystem::resize_file(file, 200'000);
  EXPECT_NE(refusal_of(file).find("truncated"), std::string::npos);
}

TEST_F(NpyFile, RefusesWhatIsNoRegularFile) {
  EXPECT_NE(refusal_of(path("missing.npy")).find("No such file"), std::string::npos);
  EXPECT_NE(refusal_of(folder_).find("a directory"), std::string::npos);
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  EXPECT_NE(refusal_of(path("pipe")).find("a pipe"), std::string::npos);
  EXPECT_NE(refusal_of("/dev/zero").find("a device"), std::string::npos);
  EXPECT_NE(refusal_of(write("empty.npy", "")).find("magic"), std::string::npos);
  EXPECT_NE(refusal_of(path("missing.npy")).find(path("missing.npy")), std::string::npos);
}

TEST_F(NpyFile, AllocatesNothingForAHeaderThatLies) {
  const std::string file =
      write("lies.npy", file_with(header_of("<f8", "(1048576, 1048576)"), "12345678"));
  EXPECT_NE(refusal_of(file).find("found 8 bytes after the header"), std::string::npos);
}

}  // namespace
}  // namespace heddle::io
