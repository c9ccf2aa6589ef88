// `heddle distil`: from a corpus to small, fast students and the report on them.
#include <cstdlib>
#include <memory>

#include "cli/commands.h"
#include "cli/distil_keys.h"
#include "cli/distil_plan.h"
#include "cli/training_run.h"
#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/train/folder_lock.h"

namespace heddle::cli {

namespace {

constexpr int kStopped = 130;  // as a shell says for a process that was interrupted

struct Options {
  std::string config, until;
  std::vector<std::string> redo;
  bool list = false;
  KeyFlags flags{distil_table()};
};

void distil(const io::Value& config, const Options& options) {
  const RunCommand run = [](const std::vector<std::string>& arguments) {
    run_arguments(arguments, add_model_commands);
  };
  const DistilPlan plan = plan_distillation(config, run);
  if (options.list) return print(stages_text(plan.stages, plan.folder));
  for (const char* folder : {"corpus", "texts", "students", "evaluation"}) {
    io::make_folder(io::join_path(plan.folder, folder));
  }
  const train::FolderLock lock(plan.folder);
  io::write_file(io::join_path(plan.folder, "distil_config.json"), io::to_json(config, 2) + "\n");
  const StageControl control{.folder = plan.folder,
                             .until = options.until,
                             .redo = options.redo,
                             .run = run,
                             .stopped = stop_requested};
  if (!run_stages(plan.stages, control)) {
    say("stopped; the same command goes on from here");
    std::exit(kStopped);
  }
  if (options.until.empty()) say("report: " + io::join_path(plan.folder, "report.md"));
}

}  // namespace

void add_distil_command(const Command& parent) {
  const Command command =
      parent.add_command("distil", "From a corpus to small, fast students of a teacher");
  const auto options = std::make_shared<Options>();
  command.option("--config", options->config, "YAML: the keys below; flags win", "FILE");
  command.flag("--list", options->list, "show the stages, their commands and which are done");
  command.option("--until", options->until, "stop after this stage", "STAGE");
  command.option("--redo", options->redo, "forget a stage and all that follows from it; or all",
                 "STAGE");
  options->flags.add_to(command);
  command.footer(
      "The file has four keys more: teacher and student hold keys of heddle train; students holds\n"
      "a name and such keys for each; int8 holds those of a last training as int8.\n\n"
      "Stages: vocabulary, teachers, their translations of the corpus, the choice among these,\n"
      "students, int8, scores and speeds, a report with pictures. A run that was stopped, killed\n"
      "or cut off goes on when the same command is given again; stages that are done are kept as\n"
      "long as their inputs are the same.\n\n"
      "Examples:\n"
      "  heddle distil --config distil.yaml\n"
      "  heddle distil --config distil.yaml --list\n"
      "  heddle distil --config distil.yaml --redo selection --drop_worst 0.05");
  command.run([options] {
    io::Value config = distil_table().read(options->config);
    options->flags.apply(config);
    distil(config, *options);
  });
}

}  // namespace heddle::cli
