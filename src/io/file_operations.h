// The operations on files that saving is made of, so that tests can let each of them fail, stop a
// save between any two, and replay what a loss of power would leave.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>

namespace heddle::io {

/// As the system calls: −1 and errno on failure.
class FileOperations {
 public:
  virtual ~FileOperations() = default;

  virtual int create(const std::string& path);  ///< a new file, for writing; a descriptor
  virtual ssize_t write(int file, const void* bytes, size_t count);
  virtual int sync(int file);
  virtual int close(int file);
  virtual int rename(const std::string& from, const std::string& to);
  virtual int remove(const std::string& path);
  virtual int make_folder(const std::string& path);
  virtual int remove_folder(const std::string& path);
  virtual int sync_folder(const std::string& path);     ///< makes names in it durable
  virtual int64_t free_bytes(const std::string& path);  ///< of the disk it lies on
};

/// Those of the system.
FileOperations& system_files();

}  // namespace heddle::io
