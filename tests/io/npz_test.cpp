// .npz archives: the cases NZ-01 … NZ-10 of hostile input (NZ-04 … NZ-07 are about single arrays:
// npy_test.cpp).
#include "heddle/io/npz.h"

#include "heddle/io/checksum.h"
#include "tests/io/files.h"

namespace heddle::io {
namespace {

using testing::bytes_of;
using testing::expect_refused;
using testing::source_of;

template <typename T>
std::string u(uint64_t value) {
  return bytes_of(static_cast<T>(value));
}

std::string array(const std::string& data) {
  std::string header = "{'descr': '|i1', 'fortran_order': False, 'shape': (" +
                       std::to_string(data.size()) + ",), }\n";
  return "\x93NUMPY\x01" + std::string(1, '\0') + u<uint16_t>(header.size()) + header + data;
}

/// One member, with everything a hostile writer may lie about.
struct Member {
  std::string name;
  std::string data;
  uint16_t method = 0;
  uint16_t flags = 0;
  std::string local_name = name;
  uint32_t checksum = crc32(std::as_bytes(std::span(data.data(), data.size())));
  bool descriptor = false;
  bool zip64 = false;
  uint32_t size = static_cast<uint32_t>(data.size());
};

std::string archive(const std::vector<Member>& members, const std::string& comment = "") {
  std::string file, directory;
  for (const Member& m : members) {
    const uint64_t offset = file.size();
    const uint32_t sizes = m.zip64 ? 0xffffffff : m.descriptor ? 0 : m.size;
    const std::string extra =
        m.zip64 ? u<uint16_t>(1) + u<uint16_t>(16) + u<uint64_t>(m.size) + u<uint64_t>(m.size) : "";
    const uint16_t flags = m.flags | (m.descriptor ? 8 : 0);
    file += "PK\x03\x04" + u<uint16_t>(20) + u<uint16_t>(flags) + u<uint16_t>(m.method) +
            u<uint32_t>(0) + u<uint32_t>(m.descriptor ? 0 : m.checksum) + u<uint32_t>(sizes) +
            u<uint32_t>(sizes) + u<uint16_t>(m.local_name.size()) + u<uint16_t>(extra.size()) +
            m.local_name + extra + m.data;
    if (m.descriptor)
      file += "PK\x07\x08" + u<uint32_t>(m.checksum) + u<uint32_t>(m.size) + u<uint32_t>(m.size);
    directory += "PK\x01\x02" + u<uint32_t>(20 | 20 << 16) + u<uint16_t>(flags) +
                 u<uint16_t>(m.method) + u<uint32_t>(0) + u<uint32_t>(m.checksum) +
                 u<uint32_t>(m.size) + u<uint32_t>(m.size) + u<uint16_t>(m.name.size()) +
                 u<uint16_t>(0) + u<uint16_t>(0) + u<uint16_t>(0) + u<uint16_t>(0) +
                 u<uint32_t>(0) + u<uint32_t>(offset) + m.name;
  }
  const uint64_t begin = file.size();
  return file + directory + "PK\x05\x06" + u<uint32_t>(0) + u<uint16_t>(members.size()) +
         u<uint16_t>(members.size()) + u<uint32_t>(directory.size()) + u<uint32_t>(begin) +
         u<uint16_t>(comment.size()) + comment;
}

NpzFile parse(const std::string& bytes) { return NpzFile(source_of(bytes)); }

void refused(const std::string& bytes, std::initializer_list<const char*> parts) {
  const std::string message = expect_refused([&] { parse(bytes); }, parts, bytes.size());
  EXPECT_NE(message.find("bytes"), std::string::npos) << message;
}

const std::string kArray = array("abc");

TEST(Npz, ReadsStoredMembers) {
  const std::string bytes = archive({{"W.npy", kArray}, {"special:model.yml.npy", array("x")}});
  EXPECT_TRUE(NpzFile::recognises(source_of(bytes)));
  const NpzFile file = parse(bytes);
  ASSERT_EQ(file.members().size(), 2u);
  EXPECT_EQ(file.members()[1].name, "special:model.yml");
  EXPECT_EQ(file.read(file.members()[0]).data<int8_t>()[2], 'c');
}

TEST(Npz, NZ01NoArchive) {
  refused("", {"end record"});
  refused("PK\x03\x04 and nothing else, nothing at all", {"end record"});
  const std::string file = archive({{"W.npy", kArray}});
  for (size_t length = 0; length < file.size(); ++length)
    refused(file.substr(0, length), {"offset"});
}
TEST(Npz, NZ02Compressed) {
  refused(archive({{"W.npy", kArray, 8}}), {"compression 8", "savez_compressed"});
  Member bomb{"W.npy", std::string(1000, '\0'), 8};
  bomb.size = 1'000'000'000;
  refused(archive({bomb}), {"compression 8"});
  refused(archive({{"W.npy", kArray, 0, 1}}), {"encryption"});
}
TEST(Npz, NZ03ShortNames) {
  for (const char* name : {"", "a", "npy", ".npy", "W.txt"}) {
    refused(archive({{name, kArray}}), {"member name", ".npy"});
  }
}
TEST(Npz, NZ05ArraysThatAreNone) {
  refused(archive({{"W.npy", "not an array"}}), {"npy: ", "W.npy", "magic"});
  std::string objects = kArray;
  refused(archive({{"W.npy", objects.replace(objects.find("|i1"), 3, "|O ")}}), {"W.npy", "descr"});
}
TEST(Npz, NZ08Checksum) {
  Member member{"W.npy", kArray};
  member.checksum ^= 1;
  const std::string bytes = archive({member});
  expect_refused(
      [&] {
        const NpzFile file = parse(bytes);
        file.read(file.members()[0]);
      },
      {"W", "CRC-32", "damaged"});
  std::string flipped = archive({{"W.npy", kArray}});
  flipped[flipped.find("abc")] = 'X';
  expect_refused(
      [&] {
        const NpzFile file = parse(flipped);
        file.read(file.members()[0]);
      },
      {"CRC-32"});
}
TEST(Npz, NZ09Headers) {
  Member other{"W.npy", kArray};
  other.local_name = "V.npy";
  refused(archive({other}), {"local header", "W.npy"});
  Member zip64{"W.npy", kArray};
  zip64.zip64 = true;
  EXPECT_EQ(parse(archive({zip64})).members().size(), 1u);
  Member later{"W.npy", kArray};
  later.descriptor = true;
  EXPECT_EQ(parse(archive({later})).members().size(), 1u);
  EXPECT_EQ(parse(archive({{"W.npy", kArray}}, "a comment")).members().size(), 1u);
  EXPECT_TRUE(parse(archive({})).members().empty());
  Member large{"W.npy", kArray};
  large.size = 1'000'000'000;
  refused(archive({large}), {"1000000000 bytes"});
  std::string count = archive({{"W.npy", kArray}});
  count.replace(count.size() - 14, 4, u<uint16_t>(9999) + u<uint16_t>(9999));
  refused(count, {"entries", "9999"});
  std::string begin = archive({{"W.npy", kArray}});
  begin.replace(begin.size() - 6, 4, u<uint32_t>(0xfffffff0));
  refused(begin, {"directory"});
}
TEST(Npz, NZ10Names) {
  refused(archive({{"W.npy", kArray}, {"W.npy", kArray}}), {"'W' twice"});
  for (const char* name : {"../a.npy", "/a.npy", "a/../b.npy", "a\\b.npy"}) {
    refused(archive({{name, kArray}}), {"member name", ".."});
  }
}
TEST(Npz, MembersThatShareBytes) {
  // A second entry whose local header lies inside the data of the first.
  const std::string inner = archive({{"V.npy", kArray}});
  const std::string local = inner.substr(0, inner.find("PK\x01\x02"));
  const std::string outer = array(local);
  const std::string file = archive({{"W.npy", outer}});
  const size_t central = file.find("PK\x01\x02", file.find("W.npy") + 5 + outer.size());
  std::string entry = inner.substr(inner.find("PK\x01\x02"), 46 + 5);
  const size_t at = file.find(local);
  entry.replace(42, 4, u<uint32_t>(at));
  std::string both = file.substr(0, central + 46 + 5) + entry;
  both += "PK\x05\x06" + u<uint32_t>(0) + u<uint16_t>(2) + u<uint16_t>(2) + u<uint32_t>(102) +
          u<uint32_t>(central) + u<uint16_t>(0);
  refused(both, {"share bytes"});
}

TEST(Npz, ChecksumIsThatOfZip) {
  const std::string text = "123456789";
  EXPECT_EQ(crc32(std::as_bytes(std::span(text.data(), 9))), 0xCBF43926u);
  const uint32_t half = crc32(std::as_bytes(std::span(text.data(), 4)));
  EXPECT_EQ(crc32(std::as_bytes(std::span(text.data() + 4, 5)), half), 0xCBF43926u);
}

class NpzFolder : public testing::FolderTest {};

TEST_F(NpzFolder, WhatIsWrittenIsReadBack) {
  Tensor w = Tensor::empty({3, 5}, DType::f32), s = Tensor::empty({}, DType::i64);
  for (int i = 0; i < 15; ++i) w.data<float>()[i] = static_cast<float>(i) / 7;
  *s.data<int64_t>() = -5;
  write_npz(path("m.npz"), {{"W", w}, {"s", s}});
  const NpzFile file(Source(path("m.npz")));
  ASSERT_EQ(file.members().size(), 2u);
  EXPECT_EQ(file.members()[0].offset % 4, file.members()[0].begin % 4);
  EXPECT_EQ(std::memcmp(file.read(file.members()[0]).raw(), w.raw(), 60), 0);
  EXPECT_EQ(*file.read(file.members()[1]).data<int64_t>(), -5);
}

}  // namespace
}  // namespace heddle::io
