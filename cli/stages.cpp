#include "cli/stages.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <system_error>

#include "cli/format.h"
#include "cli/training_run.h"
#include "heddle/base/error.h"
#include "heddle/base/timer.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/hash64.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/source.h"

namespace heddle::cli {

namespace {

constexpr uint64_t kLongestLog = uint64_t{64} << 20;  // bytes

/// An argument as a shell takes it.
std::string quoted_argument(const std::string& argument) {
  const bool plain = !argument.empty() && argument.find_first_not_of(
                                              "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQR"
                                              "STUVWXYZ0123456789_-+=./:,@%") == argument.npos;
  if (plain) return argument;
  std::string quoted = "'";
  for (const char c : argument) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

std::string line_of(const std::vector<std::string>& arguments) {
  std::string line;
  for (const std::string& each : arguments)
    line += (line.empty() ? "" : " ") + quoted_argument(each);
  return line;
}

/// The files of stages.json and what is said there.
class Log {
 public:
  explicit Log(std::string folder)
      : folder_(std::move(folder)), path_(io::join_path(folder_, "stages.json")) {
    if (io::exists(path_)) value_ = io::parse_json(io::read_text(path_, kLongestLog), path_);
  }

  const io::Value* find(const std::string& stage) const { return value_.find(stage); }

  void set(const std::string& stage, io::Value record) {
    value_.set(stage, std::move(record));
    write();
  }
  void remove(const std::string& stage) {
    io::Value rest = io::Value::Map{};
    if (value_.map() != nullptr) {
      for (const auto& [name, value] : *value_.map()) {
        if (name != stage) rest.set(name, value);
      }
    }
    value_ = std::move(rest);
    write();
  }

  /// Names of files as they stand on record: a run may be moved to another place.
  std::string name_of(const std::string& path) const {
    return path.starts_with(folder_ + "/") ? path.substr(folder_.size() + 1) : path;
  }

  io::Value hashes_of(const std::vector<std::string>& paths) const {
    io::Value hashes = io::Value::Map{};
    for (const std::string& path : paths) hashes.set(name_of(path), hash_of(path));
    return hashes;
  }

  std::string command_of(const Stage& stage) const {
    std::vector<std::string> names;
    for (const std::string& each : stage.command) names.push_back(name_of(each));
    return line_of(names);
  }

 private:
  void write() const { io::write_file(path_, io::to_json(value_, 1) + "\n"); }

  /// Reads a file once, and again when its time or size has changed: many stages may have it.
  std::string hash_of(const std::string& path) const {
    std::error_code missing;
    const auto size = std::filesystem::file_size(path, missing);
    if (missing) return "missing";
    const auto time = std::filesystem::last_write_time(path);
    Known& known = hashes_[path];
    if (known.hash.empty() || known.size != size || known.time != time) {
      known = {size, time, io::hex64(io::hash_file(path))};
    }
    return known.hash;
  }

  struct Known {
    uintmax_t size = 0;
    std::filesystem::file_time_type time{};
    std::string hash{};
  };
  mutable std::map<std::string, Known> hashes_;

  std::string folder_, path_;
  io::Value value_ = io::Value::Map{};
};

/// What differs between two lists of hashes, or "".
std::string first_difference(const io::Value& before, const io::Value& now) {
  for (const auto& [name, hash] : *now.map()) {
    const io::Value* old = before.find(name);
    if (old == nullptr) return name + " is new";
    if (!(*old == hash)) return name + (*hash.text() == "missing" ? " is gone" : " has changed");
  }
  for (const auto& [name, hash] : *before.map()) {
    if (now.find(name) == nullptr) return name + " is no longer among its files";
  }
  return "";
}

/// Why a stage that is on record must be done again, or "".
std::string change_of(const Stage& stage, const io::Value& record, const Log& log) {
  const io::Field fields(record, "stages.json: " + stage.name);
  const std::string &before = fields["command"].text(), now = log.command_of(stage);
  if (before != now) return str("it was\n    ", before, "\n  and is now\n    ", now);
  std::string change = first_difference(fields["inputs"].value(), log.hashes_of(stage.inputs));
  if (change.empty())
    change = first_difference(fields["outputs"].value(), log.hashes_of(stage.outputs));
  return change;
}

class Runner {
 public:
  Runner(const std::vector<Stage>& stages, const StageControl& control)
      : stages_(stages), control_(control), log_(control.folder) {
    for (const std::string* name : names()) {
      const bool known = name->empty() || *name == "all" ||
                         std::any_of(stages.begin(), stages.end(),
                                     [&](const Stage& each) { return each.name == *name; });
      HEDDLE_CHECK(known, "found no stage '", *name, "'; expected one that --list shows");
    }
  }

  bool run() {
    for (size_t i = 0; i < stages_.size(); ++i) {
      const Stage& stage = stages_[i];
      if (!is_done(stage)) {
        for (const std::string& path : stage.inputs) {
          HEDDLE_CHECK(io::exists(path), stage.name, ": found no ", path,
                       "; expected it from a stage before, or from you");
        }
        const std::string line = line_of(stage.command);
        say(str("== ", stage.name, " (", i + 1, " of ", stages_.size(), ")",
                stage.work ? "" : ": heddle " + line));
        const Timer timer;
        if (!work(stage)) return false;
        finish(stage, timer.seconds());
      }
      if (stage.name == control_.until) return true;
    }
    return true;
  }

 private:
  std::vector<const std::string*> names() const {
    std::vector<const std::string*> names{&control_.until};
    for (const std::string& each : control_.redo) names.push_back(&each);
    return names;
  }

  /// Whether the stage is to be done again whatever its record says.
  bool is_redone(const Stage& stage) const {
    const auto named = [&](const std::string& each) { return each == stage.name || each == "all"; };
    return std::any_of(control_.redo.begin(), control_.redo.end(), named) ||
           std::any_of(stage.inputs.begin(), stage.inputs.end(),
                       [this](const std::string& path) { return made_again_.contains(path); });
  }

  bool is_done(const Stage& stage) {
    if (stage.always) return false;
    const io::Value* record = log_.find(stage.name);
    if (record == nullptr && !is_redone(stage)) return false;
    if (is_redone(stage)) {
      if (!stage.folder.empty()) std::filesystem::remove_all(stage.folder);
      for (const std::string& path : stage.outputs) {
        std::filesystem::remove(path);
        std::filesystem::remove(path + ".progress");
        made_again_.insert(path);
      }
      log_.remove(stage.name);
      return false;
    }
    const std::string change = change_of(stage, *record, log_);
    HEDDLE_CHECK(change.empty(), stage.name, " was done with something else: ", change,
                 "\nexpected the same. --redo ", stage.name,
                 " forgets what it made and does it again, with all that follows from it");
    return true;
  }

  bool work(const Stage& stage) {
    if (stage.work) {
      stage.work();
    } else {
      std::vector<std::string> arguments = stage.command;
      arguments.insert(arguments.end(), stage.machine.begin(), stage.machine.end());
      control_.run(arguments);
    }
    if (control_.stopped()) return false;
    for (const std::string& path : stage.outputs) {
      HEDDLE_CHECK(io::exists(path), stage.name, ": found no ", path,
                   "; expected the stage to make it");
    }
    return true;
  }

  void finish(const Stage& stage, double seconds) {
    if (stage.always) return;
    io::Value record;
    record.set("command", log_.command_of(stage));
    record.set("inputs", log_.hashes_of(stage.inputs));
    record.set("outputs", log_.hashes_of(stage.outputs));
    record.set("seconds", seconds);
    log_.set(stage.name, std::move(record));
    say(str(stage.name, ": done in ", seconds_text(seconds)));
  }

  const std::vector<Stage>& stages_;
  const StageControl& control_;
  Log log_;
  std::set<std::string> made_again_;  // files of stages that are done again
};

}  // namespace

bool run_stages(const std::vector<Stage>& stages, const StageControl& control) {
  return Runner(stages, control).run();
}

std::string stages_text(const std::vector<Stage>& stages, const std::string& folder) {
  const Log log(folder);
  std::string text;
  for (const Stage& stage : stages) {
    const double seconds = seconds_of_stage(folder, stage.name);
    text += str(log.find(stage.name) != nullptr ? "done " : "     ", stage.name,
                seconds > 0 ? ", " + seconds_text(seconds) : "", "\n");
    text += str("       ", stage.work ? "" : "heddle ", log.command_of(stage), "\n");
  }
  return text;
}

double seconds_of_stage(const std::string& folder, const std::string& name) {
  const Log log(folder);
  const io::Value* record = log.find(name);
  return record == nullptr ? 0 : io::Field(*record, name)["seconds"].number();
}

}  // namespace heddle::cli
