#include "heddle/data/input_file.h"

#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <system_error>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/data/decompress.h"
#include "heddle/io/hash64.h"

namespace heddle::data {

namespace {

/// Bytes of a file, with the hash of those read so far.
class Hashed {
 public:
  explicit Hashed(const std::string& path) {
    struct stat status {};
    HEDDLE_CHECK(::stat(path.c_str(), &status) == 0, path,
                 ": cannot be opened: ", std::generic_category().message(errno));
    HEDDLE_CHECK(
        S_ISREG(status.st_mode), path,
        ": found no regular file; expected one, since training text is read several times");
    read_ = text::read_from_file(path);
  }

  size_t read(char* target, size_t bytes) {
    const size_t got = read_(target, bytes);
    hash_.add(std::as_bytes(std::span(target, got)));
    size_ += got;
    return got;
  }

  FileState state() const { return {size_, hash_.value()}; }

 private:
  text::ReadBytes read_;
  io::Hash64 hash_;
  uint64_t size_ = 0;
};

}  // namespace

FileState state_of_file(const std::string& path) {
  Hashed file(path);
  std::vector<char> block(size_t{1} << 20);
  while (file.read(block.data(), block.size()) > 0) {
  }
  return file.state();
}

text::ReadBytes open_text(const std::string& path, const FileState& expected) {
  auto file = std::make_shared<Hashed>(path);
  return decompressed(
      [file, path, expected](char* target, size_t bytes) {
        const size_t got = file->read(target, bytes);
        HEDDLE_CHECK(got > 0 || file->state() == expected, path, ": changed while it was read (",
                     expected.size, " bytes before, ", file->state().size,
                     " now); start again when nobody writes to it");
        return got;
      },
      path);
}

}  // namespace heddle::data
