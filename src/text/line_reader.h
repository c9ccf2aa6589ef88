// Reads lines from a file or a pipe with bounded memory. Policy:
//
//   only '\n' ends a line; a last line without one is a line; "a\n" is one line, "" is none
//   one '\r' before the '\n' (or at the very end) is taken off; any other stays in the line
//   a UTF-8 byte order mark at the start is taken off; UTF-16 is refused with an Error
//   a line of more than `longest` bytes is skipped: it is given as an empty line and counted, so
//   that lines out still equal lines in
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

namespace heddle::text {

inline constexpr size_t kLongestLine = size_t{4} << 20;  // bytes

/// Gives up to `bytes` bytes at `target`; 0 at the end. Throws an Error when reading fails.
using ReadBytes = std::function<size_t(char* target, size_t bytes)>;

/// Reads from a descriptor, which stays the caller's; `name` stands for it in errors. Signals and
/// descriptors that do not block are waited out.
ReadBytes read_from(int descriptor, std::string name);

/// Opens a file and reads from it. Pipes and devices are files too.
ReadBytes read_from_file(const std::string& path);

class LineReader {
 public:
  /// `name` stands for the input in errors.
  LineReader(ReadBytes read, std::string name, size_t longest = kLongestLine);

  /// The next line, without its end; false at the end of the input.
  bool next(std::string& line);

  /// Whether the line given last was too long and therefore left empty.
  bool skipped() const { return skipped_; }

  // Progress; may be read by other threads.
  uint64_t lines() const { return lines_; }
  uint64_t bytes() const { return bytes_; }
  uint64_t lines_skipped() const { return lines_skipped_; }

 private:
  bool fill();
  void check_start();
  void add(std::string& line, const char* from, size_t count);

  ReadBytes read_;
  std::string name_;
  size_t longest_;
  std::unique_ptr<char[]> buffer_;
  size_t begin_ = 0, end_ = 0;  // what was read and not yet given
  bool started_ = false;
  bool ended_ = false;
  bool skipped_ = false;
  std::atomic<uint64_t> lines_{0}, bytes_{0}, lines_skipped_{0};
};

}  // namespace heddle::text
