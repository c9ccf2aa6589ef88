// What `heddle translate` says: lines of output, progress and summary on stderr, JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "heddle/base/timer.h"
#include "heddle/decode/translator.h"

namespace heddle::cli {

/// What an output line holds, tab-separated, in this order.
struct Columns {
  bool number = false;  ///< of the input line: with several variants
  bool score = false;
  bool token_scores = false;
  enum class Alignment : uint8_t { none, hard, soft } alignment = Alignment::none;
};

/// The output of one input line: one line, or one for each variant.
std::string output_text(const decode::Translation& translation, int64_t number,
                        const Columns& columns);

/// Progress on stderr: a line that overwrites itself on a terminal, else one every ten seconds.
class Progress {
 public:
  /// `all`: lines that the input may have, for the time that is left.
  void show(const decode::Statistics& statistics, std::optional<double> all);
  void clear();  ///< takes the line off the terminal

 private:
  Timer timer_;
  double next_ = 0;
  bool shown_ = false;
};

struct Run {
  decode::Statistics statistics;
  double load_seconds = 0;
  int64_t first_line = 0;  ///< where a resumed run began
  bool stopped = false;
  std::string quality{};  ///< lines of their own, or nothing
};

std::string summary_text(const Run& run, bool profile);
std::string summary_json(const Run& run);

/// Most memory the process ever had, in bytes.
int64_t peak_memory();

}  // namespace heddle::cli
