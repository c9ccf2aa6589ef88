// An alarm for files whose lines have slipped against each other: translations have about as many
// characters as their sources, so over many pairs the logarithms of the lengths correlate; where a
// line is missing on one side, they do not from there on.
#pragma once

#include <cstddef>
#include <cstdint>

namespace heddle::data {

class MisalignmentAlarm {
 public:
  static constexpr int kBlock = 500;  ///< pairs looked at together

  void add(uint64_t line, size_t source_bytes, size_t target_bytes);

  uint64_t blocks() const { return blocks_; }
  uint64_t suspicious() const { return suspicious_; }
  uint64_t first_line() const { return first_line_; }  ///< of the first suspicious block; 0: none

 private:
  void end_block();

  uint64_t blocks_ = 0, suspicious_ = 0, first_line_ = 0, block_line_ = 0;
  int count_ = 0;
  double x_ = 0, y_ = 0, xx_ = 0, yy_ = 0, xy_ = 0;  // sums over the block
};

}  // namespace heddle::data
