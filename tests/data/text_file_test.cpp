// Files of training text: compressed, changing, failing.
#include <gtest/gtest.h>
#include <zlib.h>
#include <zstd.h>

#include <atomic>
#include <string>
#include <thread>

#include "heddle/base/error.h"
#include "heddle/data/decompress.h"
#include "heddle/data/input_file.h"
#include "tests/data/corpus_case.h"
#include "tests/io/files.h"

namespace heddle {
namespace {

using namespace heddle::testing;

class TextFiles : public FolderTest {};

std::string gzipped(const std::string& text) {
  z_stream stream{};
  EXPECT_EQ(deflateInit2(&stream, 9, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string zstandard(const std::string& text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

std::string inflated(const std::string& bytes, size_t piece = SIZE_MAX, size_t asked = 4096) {
  const text::ReadBytes read = data::decompressed(bytes_of_text(bytes, piece), "file");
  std::string text, block(asked, '\0');
  for (size_t got = read(block.data(), asked); got > 0; got = read(block.data(), asked)) {
    text.append(block, 0, got);
  }
  return text;
}

std::string sample() {
  std::string text;
  for (int i = 0; i < 20'000; ++i) text += "line " + std::to_string(i * 7919 % 10'007) + "\n";
  return text;
}

TEST_F(TextFiles, PlainTextStaysAsItIs) {
  for (const std::string& text : {std::string(), std::string("a"), std::string("P"), sample()}) {
    EXPECT_EQ(inflated(text), text);
    EXPECT_EQ(inflated(text, 1, 3), text);
  }
}

TEST_F(TextFiles, TX17_CompressedText) {
  const std::string text = sample();
  for (const std::string& bytes : {gzipped(text), zstandard(text)}) {
    EXPECT_EQ(inflated(bytes), text);
    EXPECT_EQ(inflated(bytes, 1, 7), text);
    EXPECT_EQ(inflated(bytes, 17, 1 << 20), text);
    EXPECT_EQ(inflated(bytes + bytes), text + text);  // members one after another
    for (const size_t kept : {bytes.size() - 1, bytes.size() / 2, size_t{12}}) {
      expect_refused([&] { inflated(bytes.substr(0, kept)); }, {"file: ", "cut short"});
    }
    expect_refused([&] { inflated(bytes + "garbage"); }, {"file: "});
    std::string damaged = bytes;
    damaged[bytes.size() / 2] = static_cast<char>(damaged[bytes.size() / 2] ^ 0x55);
    EXPECT_NE(
        [&] {
          try {
            return inflated(damaged);
          } catch (const Error&) {
            return std::string("refused");
          }
        }(),
        text);
  }
  EXPECT_EQ(inflated(gzipped("")), "");
  EXPECT_EQ(inflated(zstandard("")), "");
}

TEST_F(TextFiles, TX17_BombsTakeNoMemory) {
  const std::string zeros(size_t{64} << 20, ' ');
  for (const std::string& bytes : {gzipped(zeros), zstandard(zeros)}) {
    const ReadCorpus found = read_all(data::CorpusReader(
        two_files(), 1000, data::decompressed(bytes_of_text(bytes), "bomb"), bytes_of_text("x\n")));
    EXPECT_EQ(found.counts.too_long_lines, 1u);
  }
}

TEST_F(TextFiles, OtherCompressionIsRefusedByName) {
  expect_refused(
      [] {
        inflated(
            std::string("\xFD"
                        "7zXZ\0....",
                        10));
      },
      {"xz"});
  expect_refused([] { inflated("BZh91AY&SYabcdef"); }, {"bzip2"});
  expect_refused(
      [] {
        inflated(
            "PK\x03\x04"
            "abcdef");
      },
      {"zip"});
}

TEST_F(TextFiles, TX18_AFileThatChangesIsRefused) {
  const std::string file = write("a.tsv", sample());
  const data::FileState state = data::state_of_file(file);
  const auto read = [&] {
    const text::ReadBytes bytes = data::open_text(file, state);
    std::string block(1 << 16, '\0');
    while (bytes(block.data(), block.size()) > 0) {
    }
  };
  EXPECT_NO_THROW(read());
  write("a.tsv", sample() + "more\n");
  expect_refused(read, {"a.tsv", "changed while it was read"});
  std::string other = sample();
  other[100] = '#';
  write("a.tsv", other);
  expect_refused(read, {"changed while it was read"});
}

TEST_F(TextFiles, TX18_OnlyRegularFiles) {
  expect_refused([&] { data::state_of_file(folder_); }, {"no regular file"});
  expect_refused([] { data::state_of_file("/dev/zero"); }, {"no regular file"});
  expect_refused([&] { data::state_of_file(path("none")); }, {"cannot be opened"});
}

TEST_F(TextFiles, TX23_ReadingThatFails) {
  // An error in the middle of a file comes through, whatever reads it.
  const auto failing = [](const std::string& start) {
    return [rest = bytes_of_text(start)](char* target, size_t bytes) -> size_t {
      const size_t got = rest(target, bytes);
      HEDDLE_CHECK(got > 0, "a.en: cannot be read: Input/output error");
      return got;
    };
  };
  for (const std::string& bytes : {std::string("a\nb\n"), gzipped(sample()), zstandard(sample())}) {
    expect_refused(
        [&] {
          read_all(data::CorpusReader(two_files(), 1000, data::decompressed(failing(bytes), "a.en"),
                                      bytes_of_text(sample() + sample())));
        },
        {"a.en: cannot be read"});
  }
  // Closed early: the other side has more lines.
  expect_refused([] { read_two("a\nb", "c\nd\ne\n"); }, {"a.en has 2 lines"});
}

}  // namespace
}  // namespace heddle
