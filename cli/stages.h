// Long work in stages, each with files that it reads and files that it makes: what was done is not
// done again, what was interrupted goes on, what changed is noticed.
//
// `stages.json` in the run's folder says of each stage that is done: its command, the hashes of its
// inputs and outputs, its seconds. A stage whose command or inputs are not those on record, or
// whose outputs are not what it made, is an Error that says what differs, unless it may be done
// again.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "heddle/io/value.h"

namespace heddle::cli {

struct Stage {
  std::string name;                    ///< one of its own
  std::vector<std::string> command;    ///< arguments of heddle that do the work; or
  std::function<void()> work{};        ///< what does it, with `command` as what it depends on
  std::vector<std::string> machine{};  ///< more arguments, that results do not depend on
  std::vector<std::string> inputs{}, outputs{};  ///< files
  std::string folder{};  ///< the stage's own: goes when the stage is done again; or empty
  bool always = false;   ///< never done with: a report
};

struct StageControl {
  std::string folder;             ///< of the run
  std::string until;              ///< the last stage to do; empty: all
  std::vector<std::string> redo;  ///< stages to do again, and all that follows from them
  std::function<void(const std::vector<std::string>&)> run;  ///< a command of heddle
  std::function<bool()> stopped;                             ///< whether a signal asked to stop
};

/// Does them in their order. False when it was stopped between.
bool run_stages(const std::vector<Stage>& stages, const StageControl& control);

/// Stages in their order with what is known of each, for people.
std::string stages_text(const std::vector<Stage>& stages, const std::string& folder);

/// Seconds on record of a stage; 0: not done.
double seconds_of_stage(const std::string& folder, const std::string& name);

}  // namespace heddle::cli
