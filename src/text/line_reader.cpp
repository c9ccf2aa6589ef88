#include "heddle/text/line_reader.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <system_error>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::text {

namespace {

constexpr size_t kReadBuffer = size_t{256} << 10;
constexpr size_t kLooked = 512;  // bytes at the start that tell UTF-16

/// Waits until the descriptor can be read.
void wait_for(int descriptor) {
  pollfd waited{descriptor, POLLIN, 0};
  ::poll(&waited, 1, -1);
}

/// "UTF-16" or "UTF-32" when the start of a text shows it, else empty. Without a byte order mark
/// the sign is that every other byte is NUL, which no UTF-8 text looks like.
std::string_view foreign_encoding(std::string_view start) {
  if (start.starts_with(std::string_view("\xFF\xFE\0\0", 4))) return "UTF-32";
  if (start.starts_with(std::string_view("\0\0\xFE\xFF", 4))) return "UTF-32";
  if (start.starts_with("\xFF\xFE") || start.starts_with("\xFE\xFF")) return "UTF-16";
  start = start.substr(0, kLooked);
  if (start.size() < 16) return {};
  size_t nul[2] = {0, 0};
  for (size_t i = 0; i < start.size(); ++i) nul[i % 2] += start[i] == '\0';
  const size_t half = start.size() / 2;
  const bool one_side = std::min(nul[0], nul[1]) == 0;
  return one_side && std::max(nul[0], nul[1]) * 10 >= half * 9 ? "UTF-16" : std::string_view();
}

}  // namespace

ReadBytes read_from(int descriptor, std::string name) {
  return [descriptor, name = std::move(name)](char* target, size_t bytes) {
    for (;;) {
      const ssize_t got = ::read(descriptor, target, bytes);
      if (got >= 0) return static_cast<size_t>(got);
      if (errno == EAGAIN || errno == EWOULDBLOCK) {
        wait_for(descriptor);
      } else {
        HEDDLE_CHECK(errno == EINTR, name,
                     ": cannot be read: ", std::generic_category().message(errno));
      }
    }
  };
}

ReadBytes read_from_file(const std::string& path) {
  const int opened = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY);
  HEDDLE_CHECK(opened >= 0, path, ": cannot be opened: ", std::generic_category().message(errno));
  const std::shared_ptr<const int> owner(new int(opened), [](const int* descriptor) {
    ::close(*descriptor);
    delete descriptor;
  });
  return [owner, read = read_from(opened, path)](char* target, size_t bytes) {
    return read(target, bytes);
  };
}

LineReader::LineReader(ReadBytes read, std::string name, size_t longest)
    : read_(std::move(read)),
      name_(std::move(name)),
      longest_(longest),
      buffer_(std::make_unique<char[]>(kReadBuffer)) {}

bool LineReader::fill() {
  if (ended_) return false;
  begin_ = 0;
  end_ = read_(buffer_.get(), kReadBuffer);
  if (!started_) check_start();
  ended_ = end_ == 0;
  return !ended_;
}

/// The first block is filled as far as the start must be looked at, however small the reads are; a
/// whole first line is enough, since whoever types it waits for its answer.
void LineReader::check_start() {
  started_ = true;
  while (end_ > 0 && end_ < kLooked && std::memchr(buffer_.get(), '\n', end_) == nullptr) {
    const size_t got = read_(buffer_.get() + end_, kReadBuffer - end_);
    if (got == 0) break;
    end_ += got;
  }
  std::string_view start(buffer_.get(), end_);
  // No more than was waited for: how a text arrives must not decide what it is.
  start = start.substr(0, std::min(start.substr(0, kLooked).find('\n'), kLooked - 1) + 1);
  const std::string_view encoding = foreign_encoding(start);
  HEDDLE_CHECK(encoding.empty(), name_, ": found ", encoding,
               " text; expected UTF-8 (convert it: iconv -f ", encoding, " -t UTF-8)");
  if (start.starts_with("\xEF\xBB\xBF")) {
    begin_ = 3;
    bytes_ += 3;
  }
}

void LineReader::add(std::string& line, const char* from, size_t count) {
  if (skipped_) return;
  if (count > longest_ + 1 - std::min(line.size(), longest_ + 1)) {  // one more, for a '\r'
    skipped_ = true;
    std::string().swap(line);  // its memory too
    return;
  }
  line.append(from, count);
}

bool LineReader::next(std::string& line) {
  line.clear();
  skipped_ = false;
  bool found_any = false;
  for (;;) {
    if (begin_ == end_ && !fill()) break;
    if (begin_ == end_) continue;  // the start held a byte order mark alone
    found_any = true;
    const char* from = buffer_.get() + begin_;
    const void* newline = std::memchr(from, '\n', end_ - begin_);
    const size_t count =
        newline ? static_cast<size_t>(static_cast<const char*>(newline) - from) : end_ - begin_;
    add(line, from, count);
    begin_ += count + (newline ? 1 : 0);
    bytes_ += count + (newline ? 1 : 0);
    if (newline) break;
  }
  if (!found_any) return false;
  if (line.ends_with('\r')) line.pop_back();
  if (line.size() > longest_) {
    skipped_ = true;
    std::string().swap(line);
  }
  ++lines_;
  if (skipped_) ++lines_skipped_;
  return true;
}

}  // namespace heddle::text
