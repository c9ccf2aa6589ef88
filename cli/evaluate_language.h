// `heddle evaluate --dataset`: how well a language model foresees what it should say.
#pragma once

#include <string>

#include "cli/dataset.h"

namespace heddle::cli {

struct LanguageEvaluation {
  DatasetChoice data;
  std::string model, adapter;
  std::string device = "cpu";
  int64_t threads = 0;
  bool json = false;
};

/// Prints loss, perplexity and accuracy of the learned tokens.
void evaluate_language(const LanguageEvaluation& options);

}  // namespace heddle::cli
