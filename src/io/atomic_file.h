// Writes a file as a whole: it appears under its name complete and on disk, or not at all.
//
// The bytes go to a temporary file beside it; commit() syncs it, renames it over the name and syncs
// the directory. Whatever fails before leaves the old file, and no temporary one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "heddle/io/file_operations.h"

namespace heddle::io {

class AtomicFile {
 public:
  /// `files` must outlive the file.
  explicit AtomicFile(const std::string& path, FileOperations& files = system_files());
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();  ///< without commit(): removes what was written

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }

  /// The bytes of one number, little-endian.
  template <typename T>
  void number(T value) {
    write(std::as_bytes(std::span(&value, 1)));
  }

  uint64_t size() const { return size_ + buffer_.size(); }  ///< bytes written so far

  void commit();

 private:
  void flush();
  void write_through(const std::byte* bytes, size_t count);
  [[noreturn]] void fail(std::string_view action, int error) const;

  FileOperations& files_;
  std::string path_;
  std::string temporary_;
  std::string buffer_;
  uint64_t size_ = 0;
  int descriptor_ = -1;
};

/// Replaces the file by this content.
void write_file(const std::string& path, std::string_view content,
                FileOperations& files = system_files());

/// Copies a regular file; nothing happens when both names are one file.
void copy_file(const std::string& from, const std::string& to,
               FileOperations& files = system_files());

/// Makes a directory and those above it; one that is there already is fine.
void make_folder(const std::string& path);

}  // namespace heddle::io
