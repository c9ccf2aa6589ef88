// Reading and writing lines: cases TX-01 … TX-08, TX-23, TX-24, and promise 18.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <future>
#include <thread>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/text/line_reader.h"
#include "heddle/text/line_writer.h"

namespace heddle::text {
namespace {

using namespace std::literals;
using Lines = std::vector<std::string>;

/// Gives the bytes in pieces of at most `step`.
ReadBytes from_memory(std::string bytes, size_t step = ~size_t{0}) {
  return [bytes = std::move(bytes), step, at = size_t{0}](char* target, size_t room) mutable {
    const size_t count = std::min({bytes.size() - at, room, step});
    bytes.copy(target, count, at);
    at += count;
    return count;
  };
}

Lines lines_of(const std::string& bytes, size_t step = ~size_t{0}, size_t longest = kLongestLine) {
  LineReader reader(from_memory(bytes, step), "test", longest);
  Lines lines;
  for (std::string line; reader.next(line);) lines.push_back(line);
  EXPECT_EQ(reader.lines(), lines.size());
  return lines;
}

TEST(LineReader, Tx01EndsOfFiles) {
  EXPECT_EQ(lines_of(""), Lines{});
  EXPECT_EQ(lines_of("\n"), Lines{""});
  EXPECT_EQ(lines_of("a"), Lines{"a"});
  EXPECT_EQ(lines_of("a\n"), Lines{"a"});
  EXPECT_EQ(lines_of("a\n\n"), (Lines{"a", ""}));
  EXPECT_EQ(lines_of("\n\nb"), (Lines{"", "", "b"}));
}

TEST(LineReader, Tx02CarriageReturns) {
  EXPECT_EQ(lines_of("a\r\nb\r\n"), (Lines{"a", "b"}));
  EXPECT_EQ(lines_of("a\r\nb\nc\r\r\n\r\n"), (Lines{"a", "b", "c\r", ""}));
  EXPECT_EQ(lines_of("a\rb\r"), Lines{"a\rb"});
}

TEST(LineReader, Tx03OnlyNewlineSplits) {
  const std::string line = "a\u0085b\u2028c\u2029d\ve\ff\rg\x1c\x1d\x1eh";
  EXPECT_EQ(lines_of(line + "\n" + line), (Lines{line, line}));
}

TEST(LineReader, Tx04ByteOrderMark) {
  EXPECT_EQ(lines_of("\xEF\xBB\xBF"), Lines{});
  EXPECT_EQ(lines_of("\xEF\xBB\xBF"
                     "a\n"),
            Lines{"a"});
  EXPECT_EQ(lines_of("\xEF\xBB\xBF\n"), Lines{""});
  EXPECT_EQ(lines_of("a\n\xEF\xBB\xBF"
                     "b"),
            (Lines{"a",
                   "\xEF\xBB\xBF"
                   "b"}));
}

TEST(LineReader, Tx05Utf16IsRefused) {
  std::string wide;
  for (const char c : "A file of wide characters\n"s) wide += {c, '\0'};
  EXPECT_THROW(lines_of(wide), Error);
  EXPECT_THROW(lines_of("\xFF\xFE" + wide), Error);
  EXPECT_THROW(lines_of("\xFE\xFF\0a\0b"s), Error);
  EXPECT_THROW(lines_of("\0"s + wide.substr(0, wide.size() - 1)), Error);
  EXPECT_THROW(lines_of("\xFF\xFE\0\0"s), Error);
  EXPECT_THROW(lines_of("\xFF\xFE" + wide, 1), Error);  // one byte at a time
  try {
    lines_of("\xFF\xFE" + wide);
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("iconv -f UTF-16"), std::string::npos);
  }
  EXPECT_EQ(lines_of("a\0b\0"s).size(), 1u);  // NULs alone are no UTF-16
  EXPECT_EQ(lines_of(std::string(100, '\0')).size(), 1u);
}

TEST(LineReader, Tx06Tx07AnyBytesComeThrough) {
  std::string line;
  for (int byte = 0; byte < 256; ++byte) {
    if (byte != '\n') line += static_cast<char>(byte);
  }
  EXPECT_EQ(lines_of(line + "\n" + line + "\nx"), (Lines{line, line, "x"}));
}

TEST(LineReader, GivesTheSameHoweverTheInputArrives) {
  std::string text = "\xEF\xBB\xBF";
  for (int i = 0; i < 300; ++i) text += std::string(static_cast<size_t>(i % 17), 'x') + "\r\n"s;
  const Lines whole = lines_of(text);
  for (const size_t step : {1, 2, 3, 7, 511, 512, 513}) EXPECT_EQ(lines_of(text, step), whole);
}

TEST(LineReader, Tx08LongLinesAreSkippedAndCounted) {
  EXPECT_EQ(lines_of("aaaa\nbbbbb\ncc", ~size_t{0}, 4), (Lines{"aaaa", "", "cc"}));
  EXPECT_EQ(lines_of("aaaa\r\nbbbbb\r\ncc", ~size_t{0}, 4), (Lines{"aaaa", "", "cc"}));
  EXPECT_EQ(lines_of("aaaa\r\nbbbbb\r\ncc", 1, 4), (Lines{"aaaa", "", "cc"}));
  EXPECT_EQ(lines_of("aaaaa", 1, 4), (Lines{""}));
  LineReader reader(from_memory("aaaaa\nb\n"), "test", 4);
  std::string line;
  ASSERT_TRUE(reader.next(line));
  EXPECT_TRUE(reader.skipped());
  ASSERT_TRUE(reader.next(line));
  EXPECT_FALSE(reader.skipped());
  EXPECT_EQ(line, "b");
  EXPECT_EQ(reader.lines_skipped(), 1u);
  EXPECT_EQ(reader.bytes(), 8u);
}

TEST(LineReader, Tx08MegabytesInOneLine) {
  const std::string one_megabyte(size_t{1} << 20, 'x');
  const std::string spaces(1'000'000, ' ');
  EXPECT_EQ(lines_of(one_megabyte + "\n" + spaces), (Lines{one_megabyte, spaces}));
  // 64 MiB are never held: the reader keeps its limit and no more.
  size_t left = size_t{64} << 20;
  LineReader reader(
      [&](char* target, size_t room) {
        const size_t count = std::min(room, left);
        std::fill_n(target, count, 'x');
        left -= count;
        return count;
      },
      "test");
  std::string line;
  ASSERT_TRUE(reader.next(line));
  EXPECT_TRUE(reader.skipped());
  EXPECT_TRUE(line.empty());
  EXPECT_LE(line.capacity(), kLongestLine);
  EXPECT_FALSE(reader.next(line));
}

// Who types a line into an open pipe waits for its answer before typing the next.
TEST(LineReader, AFirstShortLineIsGivenAtOnce) {
  for (const std::string start : {"", "\xEF\xBB\xBF"}) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    LineReader reader(read_from(ends[0], "pipe"), "pipe");
    for (const std::string line : {"a short line", "b"}) {
      const std::string bytes = (line == "b" ? "" : start) + line + "\n";
      ASSERT_EQ(::write(ends[1], bytes.data(), bytes.size()), std::ssize(bytes));
      std::string found;
      std::future<bool> given = std::async(std::launch::async, [&] { return reader.next(found); });
      const bool at_once = given.wait_for(10s) == std::future_status::ready;
      EXPECT_TRUE(at_once) << "it waits for more than the line";
      if (!at_once) {  // lets the reader end
        ::close(ends[1]);
        given.wait();
        ::close(ends[0]);
        return;
      }
      EXPECT_TRUE(given.get());
      EXPECT_EQ(found, line);
    }
    ::close(ends[1]);
    ::close(ends[0]);
  }
}

TEST(LineReader, Tx23ErrorsOfReading) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  std::thread other([&] {
    EXPECT_EQ(write(ends[1], "a\nb", 3), 3);
    close(ends[1]);
  });
  LineReader reader(read_from(ends[0], "pipe"), "pipe");
  Lines lines;
  for (std::string line; reader.next(line);) lines.push_back(line);
  EXPECT_EQ(lines, (Lines{"a", "b"}));
  other.join();
  close(ends[0]);
  std::string line;
  LineReader closed(read_from(ends[0], "closed"), "closed");
  EXPECT_THROW(closed.next(line), Error);
  LineReader folder(read_from_file("/"), "/");
  EXPECT_THROW(folder.next(line), Error);  // EISDIR, as EIO would be
  EXPECT_THROW(read_from_file("/no such file"), Error);
}

TEST(LineReader, Tx24TenMillionLinesOfOneCharacter) {
  constexpr uint64_t kLines = 10'000'000;
  uint64_t left = kLines * 2;
  LineReader reader(
      [&](char* target, size_t room) {
        const size_t count = std::min<size_t>(room & ~size_t{1}, left);
        for (size_t i = 0; i < count; i += 2) std::copy_n("x\n", 2, target + i);
        left -= count;
        return count;
      },
      "test");
  uint64_t lines = 0;
  for (std::string line; reader.next(line);) lines += line == "x";
  EXPECT_EQ(lines, kLines);
}

TEST(LineWriter, OneLineForEachCall) {
  std::string written;
  LineWriter writer([&](std::string_view bytes) { written += bytes; });
  writer.write("a");
  writer.write("");
  writer.write("b\nc\r\n");
  EXPECT_EQ(written, "");
  writer.flush();
  EXPECT_EQ(written, "a\n\nb c  \n");
  EXPECT_EQ(writer.lines(), 3u);
}

TEST(LineWriter, HandsOnInBlocks) {
  size_t calls = 0, bytes = 0;
  LineWriter writer([&](std::string_view block) {
    ++calls;
    bytes += block.size();
  });
  for (int i = 0; i < 100'000; ++i) writer.write("0123456789");
  writer.flush();
  EXPECT_EQ(bytes, 1'100'000u);
  EXPECT_LE(calls, 20u);
}

TEST(LineWriter, ErrorsOfWritingAreThrown) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  close(ends[1]);
  LineWriter writer(write_to(ends[1], "closed"));
  writer.write("a");
  EXPECT_THROW(writer.flush(), Error);
  close(ends[0]);
}

}  // namespace
}  // namespace heddle::text
