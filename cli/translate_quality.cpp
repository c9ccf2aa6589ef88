#include "cli/translate_quality.h"

#include "heddle/base/error.h"

namespace heddle::cli {

Quality::Quality(const std::string& references)
    : path_(references),
      references_(text::read_from_file(references), references),
      bleu_{text::score::make_metric("bleu")},
      chrf_{text::score::make_metric("chrf")} {}

void Quality::add(const std::string& translation) {
  std::string reference;
  HEDDLE_CHECK(references_.next(reference), "translate: ", path_, " has ", lines_,
               " lines; expected one for each line of the input");
  ++lines_;
  const std::string_view references[] = {reference};
  for (Sum* sum : {&bleu_, &chrf_}) {
    const text::score::Counts counts = sum->metric->measure(translation, references);
    sum->counts.resize(counts.size());
    for (size_t i = 0; i < counts.size(); ++i) sum->counts[i] += counts[i];
  }
}

std::string Quality::text() const {
  if (lines_ == 0) return {};
  return str("  ", bleu_.metric->score(bleu_.counts, 1).format(1), "\n  ",
             chrf_.metric->score(chrf_.counts, 1).format(1), "\n");
}

}  // namespace heddle::cli
