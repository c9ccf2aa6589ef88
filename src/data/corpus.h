// Sentence pairs as training sees them: read from files of any form, made harmless by the same
// rules as text that is translated (text/normalize.h), and counted by what happened to them.
//
//   a line beyond `longest_line`         left out, counted (jsonl: an Error)
//   nothing but spaces on a side         left out, counted by side
//   both sides the same                  kept, counted; a warning when that is most of them
//   not UTF-8, controls                  replaced, counted
//   lines that have slipped              kept, counted; a warning with the line (misalignment.h)
//   sides of different numbers of lines, columns too few or many, weights that are none: an Error
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/data/input_file.h"
#include "heddle/data/misalignment.h"
#include "heddle/data/pair_format.h"
#include "heddle/text/normalize.h"

namespace heddle::data {

struct CorpusCounts {
  uint64_t lines = 0;  ///< read
  uint64_t kept = 0;
  uint64_t too_long_lines = 0;
  uint64_t empty_both = 0, empty_source = 0, empty_target = 0;
  uint64_t too_many_tokens = 0;
  uint64_t identical = 0;        ///< among those kept
  text::LineFaults faults;       ///< repaired characters
  uint64_t blocks = 0;           ///< looked at by the alarm, of MisalignmentAlarm::kBlock pairs
  uint64_t suspicious = 0;       ///< of them
  uint64_t suspicious_line = 0;  ///< first line of the first of them

  /// What a person should know before a long training; a line each, mostly none.
  std::vector<std::string> warnings() const;

  /// "1,345,629 lines, 1,345,000 kept, 629 left out (400 empty, …)".
  std::string summary() const;
};

struct Pair {
  std::string_view source, target;  ///< valid until the next pair
  float weight = 1;
  uint64_t line = 0;
};

/// The pairs of one set of files, in their order.
class CorpusReader {
 public:
  /// Reads bytes as they come; the names in `files` stand for them in errors.
  CorpusReader(const CorpusFiles& files, size_t longest_line, text::ReadBytes first,
               text::ReadBytes second = {});

  /// The next pair that is kept; false at the end.
  bool next(Pair& pair);

  /// Of what was read so far; complete after next() gave false.
  const CorpusCounts& counts() const { return counts_; }

 private:
  std::unique_ptr<RawPairs> pairs_;
  CorpusCounts counts_;
  MisalignmentAlarm alarm_;
  std::string source_, target_;
};

/// The paths of the files, one or two.
std::vector<std::string> paths_of(const CorpusFiles& files);

/// Opens files that must still be what they were when `states` (one a path) were taken.
CorpusReader open_corpus(const CorpusFiles& files, size_t longest_line,
                         const std::vector<FileState>& states);

}  // namespace heddle::data
