// log.jsonl: a line a report, in the order of the steps. A run that is resumed takes back the lines
// of steps that it will do again, so that the file reads as if nothing had happened.
#pragma once

#include <cstdint>
#include <string>

#include "heddle/io/value.h"

namespace heddle::train {

/// What a line is: the means since the last report, a validation, or a note of something that
/// happened (a spike, a skipped step), whose numbers are of one batch and no points of a curve.
enum class LogLine { report, evaluation, note };
LogLine kind_of(const io::Value& record);

class RunLog {
 public:
  /// Keeps the lines of steps up to `last_step` (all of them have a number "step").
  RunLog(const std::string& path, int64_t last_step);
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;
  ~RunLog();

  /// Appends one line. Throws when it cannot be written.
  void add(const io::Value& record);

 private:
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace heddle::train
