// The CPU rows of the table that this machine can run, forced by name.
#pragma once

#include <string>
#include <vector>

#include "tests/cases/attention_oracle.h"

namespace heddle::cases {

/// Those that compute both passes.
inline std::vector<std::string> cpu_rows() {
  std::vector<std::string> names;
  const AttentionProblem any(special_cases()[0]);
  for (const attention::Implementation& row : attention::implementations()) {
    const bool cpu = row.name.starts_with("cpu-");
    if (cpu && row.applies(any.args, attention::Pass::backward)) names.emplace_back(row.name);
  }
  return names;
}

/// Forward and backward of a row.
inline void compute(AttentionProblem& problem, const std::string& row) {
  attention::forward(problem.args, row);
  attention::backward(problem.args, problem.gradients, row);
}

inline Results run(AttentionProblem& problem, const std::string& row) {
  compute(problem, row);
  return results_of<float>(problem.args, problem.gradients);
}

/// All numbers of all rows against the definition, by the 2× rule.
inline void check_rows(const AttentionCase& c) {
  AttentionProblem problem(c);
  const Results exact = oracle(problem);
  const Results twin = Twin(problem).results();
  for (const std::string& row : cpu_rows()) {
    expect_close(run(problem, row), twin, exact, row + ", " + c.name);
  }
}

}  // namespace heddle::cases
