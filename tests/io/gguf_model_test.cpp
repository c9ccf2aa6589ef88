// Tensors of GGUF files against the numbers of the `gguf` package, and models in several parts.
#include <cmath>
#include <limits>

#include "heddle/base/half.h"
#include "heddle/io/gguf.h"
#include "tests/io/gguf_bytes.h"

namespace heddle::io {
namespace {

using namespace testing::gguf;
using testing::bytes_of;
using testing::expect_refused;
using testing::source_of;

GgufFile golden() {
  const std::filesystem::path data = HEDDLE_TEST_DATA;
  return GgufFile(Source(data.parent_path() / "golden" / "gguf_blocks.gguf"));
}

TEST(GgufGolden, FloatsOfEveryTypeToTheBit) {
  const GgufFile file = golden();
  for (const char* name : {"q8_0", "q5_0", "q4_k", "q5_k", "q6_k", "f16", "bf16"}) {
    SCOPED_TRACE(name);
    const GgufTensor* tensor = file.find_tensor(name);
    const GgufTensor* floats = file.find_tensor(std::string(name) + ".floats");
    ASSERT_TRUE(tensor != nullptr && floats != nullptr);
    const Tensor found = file.read(*tensor), expected = file.read(*floats);  // [3, 512]
    ASSERT_EQ(found.shape(), expected.shape());
    EXPECT_EQ(found.shape(), (Shape{3, 512}));
    EXPECT_EQ(std::memcmp(found.raw(), expected.raw(), floats->bytes), 0);
    for (int64_t row = 0; row < 3; ++row) {
      const Tensor part = file.read_rows(*tensor, row, row + 1);  // [1, 512]
      EXPECT_EQ(std::memcmp(part.raw(), expected.slice(0, row, row + 1).raw(), 512 * 4), 0);
    }
    EXPECT_THROW(file.read_rows(*tensor, 2, 4), Error);
    EXPECT_THROW(file.read_rows(*tensor, -1, 1), Error);
  }
}

TEST(GgufGolden, MetadataOfEveryType) {
  const GgufFile file = golden();
  EXPECT_EQ(file.alignment(), 64u);
  const auto integer = [&](const char* key) { return file.integer(key, INT64_MIN, INT64_MAX); };
  EXPECT_EQ(integer("value.uint8"), 255);
  EXPECT_EQ(integer("value.int8"), -128);
  EXPECT_EQ(integer("value.uint16"), 65535);
  EXPECT_EQ(integer("value.int16"), -32768);
  EXPECT_EQ(integer("value.uint32"), UINT32_MAX);
  EXPECT_EQ(integer("value.int32"), INT32_MIN);
  EXPECT_EQ(std::get<uint64_t>(file.find_key("value.uint64")->value), UINT64_MAX);
  EXPECT_EQ(integer("value.int64"), INT64_MIN);
  EXPECT_EQ(file.number("value.float32"), 0.5);
  EXPECT_EQ(file.number("value.float64"), 0.1);
  EXPECT_TRUE(file.boolean("value.bool"));
  EXPECT_EQ(file.text("value.string"), "größer");
  const GgufTexts texts = file.texts("array.string");
  ASSERT_EQ(texts.size(), 3u);
  EXPECT_EQ(texts[0], "a");
  EXPECT_EQ(texts[1], "");
  EXPECT_EQ(texts[2], "ccc");
  EXPECT_EQ(file.array<int32_t>("array.int32"), (std::vector<int32_t>{-1, INT32_MAX}));
  EXPECT_EQ(file.array<float>("array.float32"), (std::vector<float>{0.5f, -1.25f}));
  EXPECT_EQ(file.find_key("array.bool")->description(), "an array of 2 bool");
}

TEST(Gguf, GG50ScalesThatAreNoNumbers) {
  struct Case {
    const char* name;
    uint32_t type;
    uint64_t width;
    size_t bytes;
    std::vector<size_t> scales;
  };
  const std::vector<Case> cases = {{"Q8_0", 8, 32, 34, {0}},
                                   {"Q5_0", 6, 32, 22, {0}},
                                   {"Q4_K", 12, 256, 144, {0, 2}},
                                   {"Q5_K", 13, 256, 176, {0, 2}},
                                   {"Q6_K", 14, 256, 210, {208}}};
  for (const Case& c : cases) {
    for (const size_t at : c.scales) {
      for (const uint16_t bits : {0x7c00, 0xfc00, 0x7e00, 0x7c01, 0xffff}) {
        std::string data(c.bytes * 3, '\0');
        data.replace(c.bytes + at, 2, bytes_of(bits));
        const std::string bytes = file({}, {entry("w", {c.width, 3}, c.type)}, data);
        const GgufFile opened(source_of(bytes));
        const uint64_t offset = opened.tensors()[0].offset + c.bytes;
        expect_refused(
            [&] { opened.read(opened.tensors()[0]); },
            {"'w': found a NaN or infinite scale", c.name, std::to_string(offset).c_str()});
        EXPECT_EQ(opened.read_rows(opened.tensors()[0], 2, 3).elements(),
                  static_cast<int64_t>(c.width));
      }
    }
  }
  // Elements that are no numbers are the caller's business.
  const std::string bytes = file({}, {entry("w", {1})}, bytes_of(std::nanf("")));
  const GgufFile opened(source_of(bytes));
  EXPECT_TRUE(std::isnan(opened.read(opened.tensors()[0]).data<float>()[0]));
}

TEST(Gguf, OtherTypesAreRefusedByNameWhenRead) {
  struct Case {
    const char* name;
    uint32_t type;
    uint64_t width;
    size_t bytes;
  };
  for (const Case& c : {Case{"Q4_0", 2, 32, 18}, Case{"Q5_1", 7, 32, 24}, Case{"Q2_K", 10, 256, 84},
                        Case{"IQ4_NL", 20, 32, 18}, Case{"MXFP4", 39, 32, 17},
                        Case{"I32", 26, 1, 4}, Case{"F64", 28, 1, 8}}) {
    const std::string bytes = file({}, {entry("w", {c.width}, c.type)}, std::string(c.bytes, '\0'));
    const GgufFile opened(source_of(bytes));
    EXPECT_EQ(opened.tensors()[0].type, c.name);
    const std::string type = std::string("the type ") + c.name;
    for (const auto& read :
         {std::function<void()>([&] { opened.read(opened.tensors()[0]); }),
          std::function<void()>([&] { opened.read_rows(opened.tensors()[0], 0, 1); })}) {
      expect_refused(read, {"'w'", type.c_str(), "F32, F16, BF16, Q8_0", "Hint"});
    }
  }
}

class GgufFolder : public testing::FolderTest {
 protected:
  static std::string part(int number, int count, int tensors, const std::string& name) {
    return file({pair("split.no", kU16, bytes_of(static_cast<uint16_t>(number))),
                 pair("split.count", kU16, bytes_of(static_cast<uint16_t>(count))),
                 pair("split.tensors.count", kI32, bytes_of(tensors))},
                {entry(name, {1})}, bytes_of(static_cast<float>(number)));
  }

  void refused(const std::string& name, std::initializer_list<const char*> parts) const {
    expect_refused([&] { GgufModel model(path(name)); }, parts);
  }
};

TEST_F(GgufFolder, ReadsOneFileAndSeveral) {
  write("one.gguf", part(0, 1, 1, "w"));
  write("merged.gguf", part(0, 0, 1, "w"));
  EXPECT_EQ(GgufModel(path("one.gguf")).files().size(), 1u);
  EXPECT_EQ(GgufModel(path("merged.gguf")).files().size(), 1u);
  write("m-00001-of-00003.gguf", part(0, 3, 3, "a"));
  write("m-00002-of-00003.gguf", part(1, 3, 3, "b"));
  write("m-00003-of-00003.gguf", part(2, 3, 3, "c"));
  for (const char* name : {"m-00001-of-00003.gguf", "m-00003-of-00003.gguf"}) {
    const GgufModel model(path(name));
    ASSERT_EQ(model.files().size(), 3u);
    const GgufFile& last = model.files()[2];
    EXPECT_EQ(last.read(*last.find_tensor("c")).data<float>()[0], 2.0f);
  }
}

TEST_F(GgufFolder, GG48PartsThatLie) {
  const std::string first = "m-00001-of-00002.gguf", second = "m-00002-of-00002.gguf";
  write(first, part(0, 2, 2, "a"));
  refused(first, {"no part 2 of 2", "m-00002-of-00002.gguf", "Hint"});
  write(second, part(0, 2, 2, "b"));
  refused(first, {second.c_str(), "'split.no'", "expected 1 in part 2 of 2"});
  refused(second, {"found part 1 of 2", "ends in -00001-of-00002.gguf"});
  write(second, part(1, 3, 2, "b"));
  refused(first, {"'split.count'", "expected 2 in part 2"});
  write(second, file({}));
  refused(first, {second.c_str(), "'split.count': found nothing"});
  write(second, part(1, 2, 3, "b"));
  refused(first, {second.c_str(), "'split.tensors.count'", "expected 2, as all parts"});
  write(second, part(1, 2, 2, "a"));
  refused(first, {"'a' in two parts"});
  write(second, "");
  refused(first, {second.c_str(), "magic"});
  write(first, part(0, 65535, 2, "a"));
  refused(first, {"'split.count'", "an integer of 0 … 512"});
  write(first, part(2, 2, 2, "a"));
  refused(first, {"'split.no'", "an integer of 0 … 1"});
  write("renamed.gguf", part(0, 2, 2, "a"));
  refused("renamed.gguf", {"ends in -00001-of-00002.gguf"});
  write(first, file({pair("split.count", kF32, bytes_of(2.0f))}));
  refused(first, {"'split.count': found the float32 2", "an integer"});
}

TEST_F(GgufFolder, TruncatedAfterOpening) {
  const std::string name =
      write("w.gguf", file({}, {entry("w", {40'000})}, std::string(160'000, 'x')));
  const GgufModel model(name);
  std::filesystem::resize_file(name, 5000);
  const GgufFile& opened = model.files()[0];
  expect_refused([&] { opened.read(opened.tensors()[0]); }, {"w.gguf", "its end"});
}

TEST_F(GgufFolder, GG45TruncatedAt256Places) {
  const GgufFile whole = golden();
  std::string bytes(static_cast<size_t>(whole.source().size()), '\0');
  whole.source().read(bytes.data(), bytes.size(), 0);
  for (size_t i = 0; i < 256; ++i) {
    const std::string cut = bytes.substr(0, bytes.size() * i / 256);
    expect_refused([&] { GgufFile file(source_of(cut)); }, {"gguf: bytes: ", "(offset "},
                   cut.size());
  }
}

}  // namespace
}  // namespace heddle::io
