// How close the translations of `heddle translate` are to references, counted as they are written.
#pragma once

#include <memory>
#include <string>

#include "heddle/text/line_reader.h"
#include "heddle/text/score/metric.h"

namespace heddle::cli {

class Quality {
 public:
  /// A file with the reference of one line on each line.
  explicit Quality(const std::string& references);

  /// The next translation; throws when there is no reference left for it.
  void add(const std::string& translation);

  /// "  BLEU|… = 56.3 …" and chrF, a line each; nothing when nothing was added.
  std::string text() const;

 private:
  struct Sum {
    std::unique_ptr<text::score::Metric> metric;
    text::score::Counts counts{};
  };

  std::string path_;
  text::LineReader references_;
  Sum bleu_, chrf_;
  int64_t lines_ = 0;
};

}  // namespace heddle::cli
