#include "heddle/text/line_writer.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::text {

namespace {

constexpr size_t kWriteBuffer = size_t{64} << 10;

}  // namespace

WriteBytes write_to(int descriptor, std::string name) {
  return [descriptor, name = std::move(name)](std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t written = ::write(descriptor, bytes.data(), bytes.size());
      if (written >= 0) {
        bytes.remove_prefix(static_cast<size_t>(written));
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        pollfd waited{descriptor, POLLOUT, 0};
        ::poll(&waited, 1, -1);
      } else {
        HEDDLE_CHECK(errno == EINTR, name,
                     ": cannot be written: ", std::generic_category().message(errno));
      }
    }
  };
}

LineWriter::LineWriter(WriteBytes write) : write_(std::move(write)) {
  buffer_.reserve(kWriteBuffer);
}

void LineWriter::write(std::string_view line) {
  const size_t begin = buffer_.size();
  buffer_.append(line);
  const auto is_break = [](char c) { return c == '\n' || c == '\r'; };
  std::replace_if(buffer_.begin() + static_cast<std::ptrdiff_t>(begin), buffer_.end(), is_break,
                  ' ');
  buffer_ += '\n';
  ++lines_;
  if (buffer_.size() >= kWriteBuffer) flush();
}

void LineWriter::flush() {
  if (!buffer_.empty()) write_(buffer_);
  buffer_.clear();
  if (buffer_.capacity() > 4 * kWriteBuffer) {  // after a line of unusual length
    std::string().swap(buffer_);
    buffer_.reserve(kWriteBuffer);
  }
}

}  // namespace heddle::text
