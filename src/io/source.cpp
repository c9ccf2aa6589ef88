#include "heddle/io/source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::io {

namespace {

std::string system_text(int error) { return std::generic_category().message(error); }

std::string_view kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a directory";
  if (S_ISFIFO(mode)) return "a pipe";
  return "a device or socket";
}

}  // namespace

// O_NONBLOCK: a pipe without a writer cannot hold the caller.
Source::Source(const std::string& path)
    : name_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {
  const int error = errno;
  HEDDLE_CHECK(descriptor_ >= 0, "io: ", path, ": cannot be opened: ", system_text(error));
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  const int stat_error = errno;
  if (known && S_ISREG(status.st_mode)) {
    size_ = static_cast<uint64_t>(status.st_size);
    return;
  }
  ::close(descriptor_);
  HEDDLE_CHECK(known, "io: ", path, ": ", system_text(stat_error));
  detail::throw_error(
      str("io: ", path, ": found ", kind_of(status.st_mode), "; expected a regular file"));
}

Source::Source(std::span<const std::byte> bytes, std::string name)
    : name_(std::move(name)), size_(bytes.size()), bytes_(bytes.data()) {}

Source::Source(Source&& other) noexcept
    : name_(std::move(other.name_)),
      size_(std::exchange(other.size_, 0)),
      bytes_(std::exchange(other.bytes_, nullptr)),
      descriptor_(std::exchange(other.descriptor_, -1)) {}

Source& Source::operator=(Source&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(size_, other.size_);
  std::swap(bytes_, other.bytes_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

Source::~Source() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void Source::read(void* target, size_t bytes, uint64_t offset) const {
  HEDDLE_CHECK(offset <= size_ && bytes <= size_ - offset, "io: ", name_, ": asked for ", bytes,
               " bytes at offset ", offset, "; found ", size_, " in the file");
  if (bytes == 0) return;
  if (descriptor_ < 0) {
    std::memcpy(target, bytes_ + offset, bytes);
    return;
  }
  auto* at = static_cast<std::byte*>(target);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, at, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    const int error = errno;
    HEDDLE_CHECK(got >= 0, "io: ", name_, ": cannot be read: ", system_text(error));
    HEDDLE_CHECK(got > 0, "io: ", name_, ": found its end at offset ", offset, "; expected ", bytes,
                 " bytes more (was it changed while it was read?)");
    at += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<size_t>(got);
  }
}

std::string Source::text(uint64_t limit) const {
  HEDDLE_CHECK(size_ <= limit, "io: ", name_, ": found ", size_, " bytes; expected at most ",
               limit);
  std::string content(static_cast<size_t>(size_), '\0');
  read(content.data(), content.size(), 0);
  return content;
}

std::string read_text(const std::string& path, uint64_t limit) { return Source(path).text(limit); }

}  // namespace heddle::io
