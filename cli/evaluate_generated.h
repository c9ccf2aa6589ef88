// `heddle evaluate --dataset --generate`: what a language model answers, against what it should
// say.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/dataset.h"
#include "heddle/text/score/metric.h"

namespace heddle::cli {

/// Answers and what they are compared with, a line of each.
struct GeneratedAnswers {
  std::vector<std::string> answers, references;
};

struct GeneratedEvaluation {
  DatasetChoice data;
  std::string model;  ///< a language model, or an adapter with its own
  int64_t max_new_tokens = 256, rows = 8, threads = 0;
};

/// Answers the last turn of each conversation that has an answer of the assistant there, greedily.
/// Progress goes to stderr.
GeneratedAnswers generate_answers(const GeneratedEvaluation& options);

}  // namespace heddle::cli
