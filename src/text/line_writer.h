// Writes lines, one for each call, through a buffer. A line break inside a line becomes a space, so
// that lines out equal calls.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace heddle::text {

/// Takes all of the bytes, or throws an Error.
using WriteBytes = std::function<void(std::string_view bytes)>;

/// Writes to a descriptor, which stays the caller's; `name` stands for it in errors.
WriteBytes write_to(int descriptor, std::string name);

class LineWriter {
 public:
  explicit LineWriter(WriteBytes write);

  /// Adds the line and its '\n'.
  void write(std::string_view line);

  /// Hands everything on. Call it at the end: the destructor does not, as it could not report
  /// errors.
  void flush();

  /// Lines handed to write(); may be read by other threads.
  uint64_t lines() const { return lines_; }

 private:
  WriteBytes write_;
  std::string buffer_;
  std::atomic<uint64_t> lines_{0};
};

}  // namespace heddle::text
