// How models of `heddle distil` are judged, and the files that this takes.
#pragma once

#include <string>
#include <vector>

#include "cli/distil_plan.h"

namespace heddle::cli {

struct Evaluation {
  DistilModel model;
  std::vector<DistilSet> sets;
  int64_t beam = 1;
  int64_t threads = 0, speed_threads = 1;
  std::string speed_file;
  std::string output;  ///< JSON; translations lie beside it
};

/// Translates and scores the sets, then measures words/s.
void evaluate_model(const Evaluation& task, const RunCommand& run);

/// Sources and references of each set, one a line, and the sets that are called dev… as a TSV.
void write_sets(const std::vector<DistilSet>& sets, const std::vector<data::CorpusFiles>& files,
                const std::string& table);

/// Chooses among translations; what was counted goes to `counts` as JSON.
void write_selection(const data::SelectionFiles& files, const data::SelectionSettings& settings,
                     int threads, const std::string& counts);

}  // namespace heddle::cli
