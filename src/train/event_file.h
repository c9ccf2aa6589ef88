// The scalars of a run as TensorBoard reads them: events.out.tfevents.<seconds>.<host>.<process>.
//
//   record  length u64, masked CRC-32C of it, bytes, masked CRC-32C of them   (TFRecord)
//   bytes   an Event: wall_time, step, and file_version, session_log or summary   (Protocol
//   Buffers)
//
// Each process writes a file of its own, which starts by saying from which step on it counts, so
// that steps of an earlier process that are done again are not shown twice.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "heddle/io/value.h"

namespace heddle::train {

class EventFile {
 public:
  /// Makes the folder if needed. `step`: the last one done.
  EventFile(const std::string& folder, int64_t step);
  EventFile(const EventFile&) = delete;
  EventFile& operator=(const EventFile&) = delete;
  ~EventFile();

  /// One line of log.jsonl: its numbers under "train/NAME", of a validation under "eval/NAME".
  void add(const io::Value& record);

 private:
  void write(std::string_view event);

  std::string path_;
  int descriptor_ = -1;
};

/// CRC-32C (Castagnoli), as TFRecord has it before masking.
uint32_t crc32c(std::string_view bytes);

}  // namespace heddle::train
