// A thread that does text alone, beside workers that decode alone: it prepares lines for them and
// puts together what they have decoded.
#pragma once

#include "heddle/decode/text_path.h"
#include "heddle/decode/worker.h"

namespace heddle::decode {

class TextWorker {
 public:
  explicit TextWorker(const TextSettings& settings) : text_(settings) {}

  /// Works until all lines are done.
  void run(Job& job);

 private:
  void prepare(Job& job, const std::vector<LinePointer>& lines);
  void assemble(Job& job, const LinePointer& line);

  TextPath text_;
  Statistics statistics_;
};

}  // namespace heddle::decode
