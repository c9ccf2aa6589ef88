#include "heddle/train/run_log.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/source.h"

namespace heddle::train {

namespace {

constexpr uint64_t kLongestLog = uint64_t{1} << 30;  // bytes

/// The step of a line; −1 when it has none (a line cut short by a crash).
int64_t step_of(std::string_view line) {
  try {
    const io::Value value = io::parse_json(line, "log.jsonl");
    const io::Value* step = value.find("step");
    return step != nullptr && step->integer() != nullptr ? *step->integer() : -1;
  } catch (const Error&) {
    return -1;
  }
}

std::string kept_lines(const std::string& text, int64_t last_step) {
  std::string kept;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;
    const std::string_view line = std::string_view(text).substr(begin, end - begin);
    const int64_t step = step_of(line);
    if (step >= 0 && step <= last_step) kept.append(line).append("\n");
    begin = end + 1;
  }
  return kept;
}

}  // namespace

LogLine kind_of(const io::Value& record) {
  const io::Value* event = record.find("event");
  if (event == nullptr || event->text() == nullptr) return LogLine::report;
  return *event->text() == "evaluation" ? LogLine::evaluation : LogLine::note;
}

RunLog::RunLog(const std::string& path, int64_t last_step) : path_(path) {
  if (io::exists(path)) {
    const std::string text = io::read_text(path, kLongestLog);
    const std::string kept = kept_lines(text, last_step);
    if (kept != text) io::write_file(path, kept);
  }
  descriptor_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  HEDDLE_CHECK(descriptor_ >= 0, path,
               ": cannot be opened: ", std::generic_category().message(errno));
}

RunLog::~RunLog() { ::close(descriptor_); }

void RunLog::add(const io::Value& record) {
  const std::string line = io::to_json(record) + "\n";
  const char* at = line.data();
  for (size_t left = line.size(); left > 0;) {
    const ssize_t done = ::write(descriptor_, at, left);
    if (done < 0 && errno == EINTR) continue;
    HEDDLE_CHECK(done >= 0, path_, ": cannot be written: ", std::generic_category().message(errno));
    at += done;
    left -= static_cast<size_t>(done);
  }
}

}  // namespace heddle::train
