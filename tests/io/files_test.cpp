// Files: what is read, and that what is written appears as a whole.
#include "tests/io/files.h"

#include <sys/stat.h>

#include "heddle/io/atomic_file.h"
#include "heddle/io/byte_reader.h"
#include "heddle/io/paths.h"

namespace heddle::io {
namespace {

using testing::expect_refused;
using testing::source_of;

TEST(ByteReader, ChecksEveryField) {
  const std::string bytes = testing::bytes_of(uint32_t{7}) + "abc";
  const Source source = source_of(bytes);
  ByteReader reader(source, "test");
  EXPECT_EQ(reader.number<uint32_t>("count"), 7u);
  expect_refused([&] { reader.number<uint32_t>("next"); },
                 {"test: bytes: next: found 3 bytes left", "at least 4", "offset 4"});
  EXPECT_EQ(reader.text(3, "rest"), "abc");
  EXPECT_EQ(reader.remaining(), 0u);
  expect_refused([&] { reader.skip(~uint64_t{0}, "all"); }, {"all"});
}

TEST(ByteReader, ReadsAcrossItsWindow) {
  std::string bytes;
  for (uint32_t i = 0; i < 20'000; ++i) bytes += testing::bytes_of(i);
  const Source source = source_of("x" + bytes);
  const std::string all = "x" + bytes;
  const Source aligned = source_of(all);
  ByteReader reader(aligned, "test", 1, all.size());
  for (uint32_t i = 0; i < 20'000; ++i) ASSERT_EQ(reader.number<uint32_t>("n"), i);
}

TEST(Paths, StayBelow) {
  for (const char* name : {"a", "a/b", "..a", "a..", "a/..b"})
    EXPECT_TRUE(stays_below(name)) << name;
  for (const char* name : {"", "/a", "..", "../a", "a/..", "a/../b", "a\\b"}) {
    EXPECT_FALSE(stays_below(name)) << name;
  }
  EXPECT_EQ(join_path("a", "b"), "a/b");
  EXPECT_EQ(join_path("a/", "b"), "a/b");
  EXPECT_EQ(join_path("a", "/b"), "/b");
  EXPECT_EQ(folder_of("a/b/c"), "a/b");
  EXPECT_EQ(folder_of("c"), ".");
  EXPECT_EQ(folder_of("/c"), "/");
  EXPECT_EQ(file_name("a/b/"), "b");
}

class AtomicFolder : public testing::FolderTest {
 protected:
  size_t files() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(folder_), {}));
  }
};

TEST_F(AtomicFolder, AppearsOnCommit) {
  write("f", "old");
  {
    AtomicFile file(path("f"));
    file.write("new");
    EXPECT_EQ(read("f"), "old");
  }
  EXPECT_EQ(read("f"), "old");  // without commit nothing happened
  EXPECT_EQ(files(), 1u);
  AtomicFile file(path("f"));
  file.write("new");
  file.write(std::string(1 << 20, 'x'));
  file.number(uint16_t{0x3231});
  EXPECT_EQ(file.size(), 3u + (1 << 20) + 2);
  file.commit();
  EXPECT_EQ(read("f"), "new" + std::string(1 << 20, 'x') + "12");
  EXPECT_EQ(files(), 1u);
}

TEST_F(AtomicFolder, FailsWithoutATrace) {
  write("f", "old");
  // A limit on file sizes stands in for a full disk.
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, SIG_IGN);
  const rlimit small{1 << 20, before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  expect_refused([&] { write_file(path("f"), std::string(2 << 20, 'x')); },
                 {"f", "cannot be written"});
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  EXPECT_EQ(read("f"), "old");
  EXPECT_EQ(files(), 1u);
  expect_refused([&] { write_file(path("none/f"), "x"); }, {"none/f", "created"});
  expect_refused([&] { write_file(folder_, "x"); }, {"a directory"});
}

TEST_F(AtomicFolder, Copies) {
  const std::string content(700'000, 'c');
  write("a", content);
  copy_file(path("a"), path("b"));
  copy_file(path("a"), path("a"));
  EXPECT_EQ(read("b"), content);
  EXPECT_EQ(read("a"), content);
  make_folder(path("x/y/z"));
  make_folder(path("x/y/z"));
  EXPECT_TRUE(is_directory(path("x/y/z")));
  expect_refused([&] { make_folder(path("a/b")); }, {"cannot be made"});
  EXPECT_EQ(list_folder(folder_), (std::vector<std::string>{"a", "b", "x"}));
}

}  // namespace
}  // namespace heddle::io
