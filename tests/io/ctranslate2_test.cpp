// CTranslate2's model.bin: the cases CT-01 … CT-12 of hostile input (CT-10 and CT-13 … CT-16 are
// about what the variables mean: tests/model/ctranslate2_test.cpp).
#include "heddle/io/ctranslate2.h"

#include "tests/io/files.h"

namespace heddle::io {
namespace {

using testing::bytes_of;
using testing::expect_refused;
using testing::source_of;

std::string text(const std::string& value) {
  return bytes_of(static_cast<uint16_t>(value.size() + 1)) + value + '\0';
}

std::string variable(const std::string& name, const std::vector<uint32_t>& shape, uint8_t type,
                     uint32_t bytes, const std::string& data) {
  std::string result = text(name) + static_cast<char>(shape.size());
  for (const uint32_t length : shape) result += bytes_of(length);
  return result + static_cast<char>(type) + bytes_of(bytes) + data;
}

const std::string kW = variable("w", {1, 2}, 0, 8, bytes_of(1.0f) + bytes_of(2.0f));
const std::string kN = variable("n", {}, 2, 2, bytes_of(int16_t{8}));

std::string file_of(const std::vector<std::string>& variables, const std::string& aliases) {
  std::string file = bytes_of(uint32_t{6}) + text("TransformerSpec") + bytes_of(uint32_t{7}) +
                     bytes_of(static_cast<uint32_t>(variables.size()));
  for (const std::string& variable : variables) file += variable;
  return file + aliases;
}

std::string plain() { return file_of({kW, kN}, bytes_of(uint32_t{1}) + text("v") + text("w")); }

Ctranslate2File parse(const std::string& bytes) { return Ctranslate2File(source_of(bytes)); }

void refused(const std::string& bytes, std::initializer_list<const char*> parts) {
  const std::string message = expect_refused([&] { parse(bytes); }, parts, bytes.size());
  EXPECT_EQ(message.rfind("ctranslate2: bytes: ", 0), 0u) << message;
  EXPECT_NE(message.find("(offset "), std::string::npos) << message;
}

TEST(Ctranslate2, ReadsVariablesAndAliases) {
  EXPECT_TRUE(Ctranslate2File::recognises(source_of(plain())));
  const std::string bytes = plain();
  const Ctranslate2File file = parse(bytes);
  EXPECT_EQ(file.spec(), "TransformerSpec");
  EXPECT_EQ(file.revision(), 7u);
  ASSERT_NE(file.find("v"), nullptr);
  EXPECT_EQ(file.find("v"), file.find("w"));
  EXPECT_EQ(file.find("x"), nullptr);
  EXPECT_EQ(file.read(*file.find("v")).data<float>()[1], 2.0f);
  EXPECT_EQ(*file.read(*file.find("n")).data<float>(), 8.0f);
}

TEST(Ctranslate2, CT01TruncatedInEveryField) {
  const std::string file = plain();
  for (size_t length = 0; length < file.size(); ++length)
    refused(file.substr(0, length), {"found"});
}
TEST(Ctranslate2, CT02Versions) {
  for (const uint32_t version : {0u, 999u, 1936876918u, 7u}) {
    refused(bytes_of(version) + plain().substr(4), {"version", "expected 6"});
  }
  for (const uint32_t version : {1u, 2u, 3u, 4u, 5u}) {  // by name, with what to do
    refused(bytes_of(version) + plain().substr(4), {"earlier CTranslate2", "Hint"});
  }
}
TEST(Ctranslate2, CT03Strings) {
  refused(bytes_of(uint32_t{6}) + bytes_of(uint16_t{0}) + plain().substr(6), {"spec length"});
  refused(bytes_of(uint32_t{6}) + bytes_of(uint16_t{1}) + std::string(20, '\0'), {"spec length"});
  refused(bytes_of(uint32_t{6}) + bytes_of(uint16_t{5}) + plain().substr(6), {"ends in NUL"});
  refused(bytes_of(uint32_t{6}) + text(std::string("a\0b", 3)) + plain().substr(22),
          {"without NUL"});
}
TEST(Ctranslate2, CT04VariableCounts) {
  for (const uint32_t count : {0xffffffffu, 1000u}) {
    std::string file = plain();
    refused(file.replace(4 + 18 + 4, 4, bytes_of(count)), {"variable count"});
  }
}
TEST(Ctranslate2, CT05Shapes) {
  std::string rank = variable("w", {}, 0, 0, "");
  rank[4] = '\xff';
  refused(file_of({rank}, std::string(2000, '\0')), {"shape of 'w'", "rank 255"});
  refused(file_of({variable("w", std::vector<uint32_t>(6, 0xffffffff), 0, 8, "12345678")}, ""),
          {"bytes of 'w'", "2^63"});
  refused(file_of({variable("w", {0, 0xffffffff, 0xffffffff, 2}, 0, 0, "")}, std::string(4, '\0')),
          {"2^63"});
}
TEST(Ctranslate2, CT06ATerabyteThatIsNotThere) {
  refused(file_of({variable("w", {1 << 20, 1 << 18}, 0, 4, "abcd")}, ""),
          {"bytes of 'w'", "found 4"});
}
TEST(Ctranslate2, CT07Payloads) {
  refused(file_of({variable("w", {2}, 0, 9, "123456789")}, std::string(4, '\0')),
          {"found 9", "8 for"});
  refused(file_of({variable("w", {1000}, 0, 4000, "abcd")}, ""), {"elements of 'w'", "4000"});
}
TEST(Ctranslate2, CT08Types) {
  for (int type = 6; type < 256; ++type) {
    refused(
        file_of({variable("w", {1}, static_cast<uint8_t>(type), 4, "abcd")}, std::string(4, '\0')),
        {"type of 'w'"});
  }
}
TEST(Ctranslate2, CT09Duplicates) {
  refused(file_of({kW, kW}, std::string(4, '\0')), {"'w' twice"});
}
TEST(Ctranslate2, CT11Aliases) {
  const auto aliases = [](const std::vector<std::pair<std::string, std::string>>& pairs) {
    std::string bytes = bytes_of(static_cast<uint32_t>(pairs.size()));
    for (const auto& [alias, name] : pairs) bytes += text(alias) + text(name);
    return file_of({kW}, bytes);
  };
  refused(aliases({{"a", "unknown"}}), {"alias 'a'", "'unknown'"});
  refused(aliases({{"a", "a"}}), {"alias 'a'"});
  refused(aliases({{"a", "b"}, {"b", "a"}}), {"alias 'a'"});
  refused(aliases({{"w", "w"}}), {"which is a variable"});
  refused(aliases({{"a", "w"}, {"a", "w"}}), {"'a' twice"});
  refused(file_of({kW}, bytes_of(0xffffffffu)), {"alias count"});
}
TEST(Ctranslate2, CT12Trailing) { refused(plain() + "x", {"end", "1 bytes"}); }

class Ctranslate2Folder : public testing::FolderTest {};

TEST_F(Ctranslate2Folder, WhatIsWrittenIsReadBack) {
  Tensor w = Tensor::empty({2, 2}, DType::bf16);
  for (int i = 0; i < 4; ++i) w.data<BFloat16>()[i] = BFloat16(static_cast<float>(i) - 1.5f);
  Ctranslate2Output heads;
  heads.number = 4;
  write_ctranslate2(path("model.bin"), "TransformerSpec", 7, {{"w", {w}}, {"heads", heads}},
                    {{"v", "w"}});
  const Ctranslate2File file(Source(path("model.bin")));
  EXPECT_EQ(std::memcmp(file.read(*file.find("v")).raw(), w.raw(), 8), 0);
  EXPECT_EQ(file.find("heads")->type, "int16");
  EXPECT_EQ(*file.read(*file.find("heads")).data<float>(), 4.0f);
}

}  // namespace
}  // namespace heddle::io
