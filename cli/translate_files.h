// Lines in and out of `heddle translate`: an input that a signal can interrupt, and an output file
// that can be resumed.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

#include "heddle/text/line_reader.h"

namespace heddle::cli {

/// The text to translate: a file or standard input. Reading ends early when asked to stop.
class InputFile {
 public:
  /// An empty path is standard input. Lines of more than `longest` bytes are given as empty ones.
  InputFile(const std::string& path, int64_t longest, const std::atomic<bool>& stop);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  /// False at the end, or when asked to stop.
  bool next(std::string& line);

  int64_t offset() const;  ///< bytes of the lines given so far, counted from the start of the file
  std::optional<int64_t> size() const { return size_; }  ///< of a regular file
  void seek(int64_t offset);                             ///< before the first line
  int64_t skipped() const { return static_cast<int64_t>(reader_.lines_skipped()); }

 private:
  size_t read(char* target, size_t bytes);

  std::string name_;
  const std::atomic<bool>& stop_;
  int descriptor_;
  std::optional<int64_t> size_;
  int64_t begin_ = 0;
  text::LineReader reader_;
};

/// How far a translation of a file has come.
struct Checkpoint {
  int64_t lines = 0;
  int64_t in_bytes = 0;
  int64_t out_bytes = 0;
};

/// An output file beside which `<path>.progress` says how many of its bytes are whole translations,
/// until all is done. Both are written through to the disk.
class ResumableOutput {
 public:
  /// `task` is one line that must be the same for a run to continue an earlier one: input, model,
  /// options. With `restart` an earlier one is forgotten.
  ResumableOutput(const std::string& path, std::string task, bool restart);
  ~ResumableOutput();
  ResumableOutput(const ResumableOutput&) = delete;
  ResumableOutput& operator=(const ResumableOutput&) = delete;

  /// Where to go on; all zero for a new file.
  const Checkpoint& start() const { return start_; }

  void write(const std::string& text);

  /// The lines written so far will not be done again; `in_bytes` is the end of the last of them.
  void checkpoint(int64_t lines, int64_t in_bytes);

  /// Nothing is left to do: the file beside the output goes.
  void finish();

 private:
  void load(bool restart);
  void flush();

  std::string path_, progress_path_, task_;
  Checkpoint start_;
  std::FILE* file_ = nullptr;
  int64_t out_bytes_ = 0;
};

}  // namespace heddle::cli
