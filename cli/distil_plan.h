// What `heddle distil` is to do: the stages from a corpus to students and their report, and the
// models that come out of them.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "cli/stages.h"
#include "heddle/data/pair_format.h"
#include "heddle/data/selection.h"
#include "heddle/io/value.h"

namespace heddle::cli {

enum class Strategy : uint8_t { original, sequence, word };
const char* name_of(Strategy strategy);

/// A model that is judged.
struct DistilModel {
  std::string name;       ///< "teacher-1", "tiny-sequence", "tiny-sequence-int8"
  std::string folder;     ///< where it lies
  std::string student{};  ///< of the recipe; empty: a teacher
  Strategy strategy = Strategy::original;
  bool int8 = false;
  std::string training{};  ///< the stage that trained it; empty: it was there
  bool on_gpu = false;     ///< where it is judged
};

/// A text to judge by: files of its sources and references.
struct DistilSet {
  std::string name, sources, references;
};

struct DistilPlan {
  std::string folder;
  io::Value config;  ///< of distil_table()
  std::vector<DistilSet> sets;
  std::vector<DistilModel> models;
  std::vector<Stage> stages;
  std::string selection;  ///< the file of the selection's counts

  std::string evaluation_of(const DistilModel& model) const;  ///< its file
};

/// Runs a command of heddle.
using RunCommand = std::function<void(const std::vector<std::string>&)>;

/// Throws for keys that do not fit together. Makes no file.
DistilPlan plan_distillation(const io::Value& config, const RunCommand& run);

}  // namespace heddle::cli
