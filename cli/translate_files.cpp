#include "cli/translate_files.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::cli {

namespace {

constexpr int kPollMilliseconds = 100;  // how long a signal may take to be seen

std::string reason() { return std::generic_category().message(errno); }

/// Writes text to a new file, through to the disk, and puts it in the place of `path`.
void replace_file(const std::string& path, const std::string& text) {
  const std::string part = path + ".part";
  std::FILE* file = std::fopen(part.c_str(), "wb");
  HEDDLE_CHECK(file != nullptr, "translate: cannot write ", part, ": ", reason());
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size() &&
                       std::fflush(file) == 0 && ::fsync(::fileno(file)) == 0;
  const std::string why = written ? std::string() : reason();
  std::fclose(file);
  HEDDLE_CHECK(written, "translate: cannot write ", part, ": ", why);
  HEDDLE_CHECK(std::rename(part.c_str(), path.c_str()) == 0, "translate: cannot write ", path, ": ",
               reason());
}

}  // namespace

InputFile::InputFile(const std::string& path, int64_t longest, const std::atomic<bool>& stop)
    : name_(path.empty() ? "standard input" : path),
      stop_(stop),
      descriptor_(path.empty() ? STDIN_FILENO : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)),
      reader_([this](char* target, size_t bytes) { return read(target, bytes); }, name_,
              static_cast<size_t>(longest)) {
  HEDDLE_CHECK(descriptor_ >= 0, "translate: cannot read ", name_, ": ", reason());
  struct stat status {};
  HEDDLE_CHECK(::fstat(descriptor_, &status) == 0, "translate: cannot read ", name_, ": ",
               reason());
  HEDDLE_CHECK(!S_ISDIR(status.st_mode), "translate: ", name_,
               " is a directory; expected a text file");
  if (S_ISREG(status.st_mode)) size_ = status.st_size;
}

InputFile::~InputFile() {
  if (descriptor_ > STDIN_FILENO) ::close(descriptor_);
}

void InputFile::seek(int64_t offset) {
  HEDDLE_CHECK(::lseek(descriptor_, offset, SEEK_SET) == offset, "translate: cannot seek in ",
               name_, ": ", reason());
  begin_ = offset;
}

size_t InputFile::read(char* target, size_t bytes) {
  while (!stop_) {
    // Not a read that a signal ends: it may be delivered to another thread.
    pollfd waiting{descriptor_, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, kPollMilliseconds);
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    const ssize_t count = ::read(descriptor_, target, bytes);
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    HEDDLE_CHECK(count >= 0, "translate: cannot read ", name_, ": ", reason());
    return static_cast<size_t>(count);
  }
  return 0;
}

bool InputFile::next(std::string& line) { return reader_.next(line) && !stop_; }

int64_t InputFile::offset() const { return begin_ + static_cast<int64_t>(reader_.bytes()); }

ResumableOutput::ResumableOutput(const std::string& path, std::string task, bool restart)
    : path_(path), progress_path_(path + ".progress"), task_(std::move(task)) {
  load(restart);
  if (start_.out_bytes > 0) {
    HEDDLE_CHECK(::truncate(path.c_str(), start_.out_bytes) == 0, "translate: cannot continue ",
                 path, ": ", reason());
  }
  file_ = std::fopen(path.c_str(), start_.out_bytes > 0 ? "ab" : "wb");
  HEDDLE_CHECK(file_ != nullptr, "translate: cannot write ", path, ": ", reason());
  out_bytes_ = start_.out_bytes;
}

ResumableOutput::~ResumableOutput() {
  if (file_ != nullptr) std::fclose(file_);
}

void ResumableOutput::load(bool restart) {
  std::ifstream file(progress_path_, std::ios::binary);
  if (restart || !file) return;
  std::string task, word;
  Checkpoint found;
  std::getline(file, task);
  const bool whole = static_cast<bool>(file >> word >> found.lines) && word == "lines" &&
                     static_cast<bool>(file >> word >> found.in_bytes) && word == "in_bytes" &&
                     static_cast<bool>(file >> word >> found.out_bytes) && word == "out_bytes";
  HEDDLE_CHECK(whole && found.lines >= 0 && found.in_bytes >= 0 && found.out_bytes >= 0,
               "translate: ", progress_path_,
               " is damaged; expected lines, in_bytes and out_bytes. Use --restart");
  HEDDLE_CHECK(task == task_, "translate: ", progress_path_, " is of another translation (", task,
               "); expected the same input, model and options (", task_, "). Use --restart");
  std::error_code error;
  const auto size = std::filesystem::file_size(path_, error);
  HEDDLE_CHECK(!error && static_cast<int64_t>(size) >= found.out_bytes, "translate: ", path_,
               " is shorter than the ", found.out_bytes, " bytes that ", progress_path_,
               " says were written. Use --restart");
  start_ = found;
}

void ResumableOutput::write(const std::string& text) {
  HEDDLE_CHECK(std::fwrite(text.data(), 1, text.size(), file_) == text.size(),
               "translate: cannot write ", path_, ": ", reason());
  out_bytes_ += std::ssize(text);
}

void ResumableOutput::flush() {
  HEDDLE_CHECK(std::fflush(file_) == 0 && ::fsync(::fileno(file_)) == 0, "translate: cannot write ",
               path_, ": ", reason());
}

void ResumableOutput::checkpoint(int64_t lines, int64_t in_bytes) {
  flush();
  replace_file(progress_path_, str(task_, "\nlines ", lines, "\nin_bytes ", in_bytes,
                                   "\nout_bytes ", out_bytes_, "\n"));
}

void ResumableOutput::finish() {
  flush();
  const bool closed = std::fclose(std::exchange(file_, nullptr)) == 0;
  HEDDLE_CHECK(closed, "translate: cannot write ", path_, ": ", reason());
  std::error_code error;
  std::filesystem::remove(progress_path_, error);
}

}  // namespace heddle::cli
