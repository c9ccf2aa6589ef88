#include "heddle/io/atomic_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/io/paths.h"
#include "heddle/io/source.h"

namespace heddle::io {

namespace {

static_assert(std::endian::native == std::endian::little, "numbers are written as they lie");

constexpr size_t kBuffer = size_t{256} << 10;

std::string temporary_name(const std::string& path) {
  static std::atomic<unsigned> count{0};
  return join_path(folder_of(path), str(".", file_name(path), ".", static_cast<int>(::getpid()),
                                        "-", count.fetch_add(1), ".tmp"));
}

}  // namespace

void AtomicFile::fail(std::string_view action, int error) const {
  detail::throw_error(
      str("io: ", path_, ": cannot be ", action, ": ", std::generic_category().message(error)));
}

AtomicFile::AtomicFile(const std::string& path, FileOperations& files)
    : files_(files), path_(path), temporary_(temporary_name(path)) {
  HEDDLE_CHECK(!is_directory(path), "io: ", path,
               ": found a directory; expected a file to replace");
  descriptor_ = files_.create(temporary_);
  if (descriptor_ < 0) fail("created", errno);
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) files_.close(descriptor_);
  if (!temporary_.empty()) files_.remove(temporary_);
}

void AtomicFile::write_through(const std::byte* bytes, size_t count) {
  size_ += count;
  while (count > 0) {
    const ssize_t done = files_.write(descriptor_, bytes, count);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("written", errno);
    bytes += done;
    count -= static_cast<size_t>(done);
  }
}

void AtomicFile::flush() {
  write_through(reinterpret_cast<const std::byte*>(buffer_.data()), buffer_.size());
  buffer_.clear();
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  if (buffer_.size() + bytes.size() > kBuffer) flush();
  if (bytes.size() > kBuffer) {
    write_through(bytes.data(), bytes.size());
  } else {
    buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
}

void AtomicFile::commit() {
  flush();
  // Never again after a failure: the kernel may have dropped the pages that it could not write.
  if (files_.sync(descriptor_) != 0) fail("synced", errno);
  const int closed = files_.close(std::exchange(descriptor_, -1));
  if (closed != 0) fail("closed", errno);
  if (files_.rename(temporary_, path_) != 0) fail("renamed", errno);
  temporary_.clear();
  if (files_.sync_folder(folder_of(path_)) != 0) fail("synced", errno);
}

void write_file(const std::string& path, std::string_view content, FileOperations& files) {
  AtomicFile file(path, files);
  file.write(content);
  file.commit();
}

void copy_file(const std::string& from, const std::string& to, FileOperations& files) {
  struct stat a {
  }, b{};
  if (::stat(from.c_str(), &a) == 0 && ::stat(to.c_str(), &b) == 0 && a.st_dev == b.st_dev &&
      a.st_ino == b.st_ino) {
    return;
  }
  const Source source(from);
  AtomicFile file(to, files);
  std::vector<std::byte> block(std::min<uint64_t>(source.size(), kBuffer));
  for (uint64_t offset = 0; offset < source.size(); offset += block.size()) {
    block.resize(static_cast<size_t>(std::min<uint64_t>(kBuffer, source.size() - offset)));
    source.read(block.data(), block.size(), offset);
    file.write(block);
  }
  file.commit();
}

void make_folder(const std::string& path) {
  if (is_directory(path)) return;
  const std::string above = folder_of(path);
  if (above != path && above != "." && above != "/") make_folder(above);
  const bool made = ::mkdir(path.c_str(), 0777) == 0;
  const int error = errno;
  HEDDLE_CHECK(made || (error == EEXIST && is_directory(path)), "io: ", path,
               ": cannot be made: ", std::generic_category().message(error));
}

}  // namespace heddle::io
