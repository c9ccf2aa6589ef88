#include "heddle/io/file_operations.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

namespace heddle::io {

int FileOperations::create(const std::string& path) {
  return ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
}

ssize_t FileOperations::write(int file, const void* bytes, size_t count) {
  return ::write(file, bytes, count);
}

int FileOperations::sync(int file) { return ::fsync(file); }

int FileOperations::close(int file) { return ::close(file); }

int FileOperations::rename(const std::string& from, const std::string& to) {
  return ::rename(from.c_str(), to.c_str());
}

int FileOperations::remove(const std::string& path) { return ::unlink(path.c_str()); }

int FileOperations::make_folder(const std::string& path) { return ::mkdir(path.c_str(), 0777); }

int FileOperations::remove_folder(const std::string& path) { return ::rmdir(path.c_str()); }

int FileOperations::sync_folder(const std::string& path) {
  const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return -1;
  const int synced = ::fsync(folder);
  const int error = errno;
  ::close(folder);
  errno = error;
  return synced;
}

int64_t FileOperations::free_bytes(const std::string& path) {
  struct statvfs status {};
  if (::statvfs(path.c_str(), &status) != 0) return -1;
  const uint64_t bytes = uint64_t{status.f_bavail} * status.f_frsize;
  return static_cast<int64_t>(std::min<uint64_t>(bytes, INT64_MAX));
}

FileOperations& system_files() {
  static FileOperations operations;  // holds nothing
  return operations;
}

}  // namespace heddle::io
