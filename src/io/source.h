// What the readers read from: a regular file, or bytes in memory that stand for one.
//
// A file is read, not mapped: a mapped file that another process truncates ends the reader with a
// signal, a read that comes back short is an Error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace heddle::io {

class Source {
 public:
  /// Opens a regular file; refuses directories, pipes, devices and sockets without waiting for
  /// them.
  explicit Source(const std::string& path);

  /// Bytes that somebody else keeps alive; `name` stands for the path in errors.
  Source(std::span<const std::byte> bytes, std::string name);

  Source(Source&& other) noexcept;
  Source& operator=(Source&& other) noexcept;
  ~Source();

  const std::string& name() const { return name_; }
  uint64_t size() const { return size_; }

  /// Exactly [offset, offset + bytes); throws when the file has become shorter.
  void read(void* target, size_t bytes, uint64_t offset) const;

  /// The whole content; throws when it is longer than `limit`.
  std::string text(uint64_t limit) const;

 private:
  std::string name_;
  uint64_t size_ = 0;
  const std::byte* bytes_ = nullptr;
  int descriptor_ = -1;
};

/// The content of a regular file of at most `limit` bytes.
std::string read_text(const std::string& path, uint64_t limit);

}  // namespace heddle::io
