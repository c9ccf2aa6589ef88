#include "cli/distil_plan.h"

#include <algorithm>
#include <set>

#include "cli/distil_arguments.h"
#include "cli/distil_evaluate.h"
#include "cli/distil_keys.h"
#include "cli/distil_report.h"
#include "cli/train_keys.h"
#include "cli/train_setup.h"
#include "cli/training_run.h"
#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"

namespace heddle::cli {

namespace {

class Planner {
 public:
  Planner(const io::Value& config, const RunCommand& run)
      : run_(run), field_(plan_.config, "distil") {
    plan_.config = config;
    plan_.folder = field_.text_or("output_dir", "");
    while (plan_.folder.size() > 1 && plan_.folder.ends_with('/')) plan_.folder.pop_back();
    HEDDLE_CHECK(!plan_.folder.empty(), "output_dir: expected a folder for all that is made");
    HEDDLE_CHECK(!texts_of(field_, "train_file").empty(), "train_file: expected files of text");
    HEDDLE_CHECK(!texts_of(field_, "validation_file").empty(),
                 "validation_file: expected text to judge models by");
    on_gpu_ = device_of(field_).type == DeviceType::cuda;
    plan_.selection = in("corpus/selection.json");
  }

  DistilPlan make() {
    corpus_ = corpus_files("train_file", "source_column", "target_column");
    held_out_ = corpus_files("validation_file", "source_column", "target_column");
    tests_ = corpus_files("test_file", "test_source_column", "test_target_column");
    plan_vocabulary();
    plan_texts();
    plan_teachers();
    const std::vector<Strategy> strategies = strategies_of();
    const bool distils = std::any_of(strategies.begin(), strategies.end(),
                                     [](Strategy each) { return each != Strategy::original; });
    if (distils) plan_translations();
    plan_students(strategies);
    plan_evaluations();
    plan_report();
    return std::move(plan_);
  }

 private:
  std::string in(const std::string& name) const { return io::join_path(plan_.folder, name); }

  std::vector<data::CorpusFiles> corpus_files(const char* key, const char* source,
                                              const char* target) const {
    std::vector<data::CorpusFiles> list;
    for (const std::string& path : texts_of(field_, key)) {
      data::CorpusFiles files;
      files.pairs = path;
      files.source_column = static_cast<int>(field_[source].integer(1, 1000)) - 1;
      files.target_column = static_cast<int>(field_[target].integer(1, 1000)) - 1;
      files.source_field = field_["source_field"].text();
      files.target_field = field_["target_field"].text();
      list.push_back(files);
    }
    return list;
  }

  /// The keys of heddle train under `key`.
  io::Value training_keys(const char* key) const {
    io::Value keys = io::Value::Map{};
    if (const auto given = field_.find(key)) take_training_keys(*given, keys);
    return keys;
  }

  Arguments machine() const {
    return {"--device", on_gpu_ ? "cuda" : "cpu", "--threads",
            str(field_["threads"].integer(0, 1024))};
  }

  void plan_vocabulary();
  void plan_texts();
  void plan_teachers();
  std::vector<Strategy> strategies_of() const;
  void plan_translations();
  void plan_students(const std::vector<Strategy>& strategies);
  void plan_student(const std::string& name, const io::Value& keys, Strategy strategy);
  void plan_int8(const DistilModel& student, const io::Value& keys);
  void plan_evaluations();
  void plan_report();

  Stage training(const std::string& name, const std::string& folder, const Arguments& text) const {
    Stage stage = training_stage(name, folder, text);
    stage.machine = machine();
    stage.inputs = vocabularies_;
    return stage;
  }
  Arguments original_text() const;
  Arguments distilled_text() const;
  void append_files(Stage& stage, const std::vector<data::CorpusFiles>& files) const {
    for (const data::CorpusFiles& each : files) stage.inputs.push_back(each.pairs);
  }

  const RunCommand& run_;
  DistilPlan plan_;
  io::Field field_;
  bool on_gpu_ = false;
  std::vector<std::string> vocabularies_, teachers_;
  std::vector<data::CorpusFiles> corpus_, held_out_, tests_;
};

void Planner::plan_vocabulary() {
  vocabularies_ = texts_of(field_, "vocab");
  if (!vocabularies_.empty()) return;
  vocabularies_ = {in("vocab.spm")};
  Stage stage{.name = "vocab", .command = {"vocab"}};
  for (const data::CorpusFiles& files : corpus_) {
    HEDDLE_CHECK(!data::is_jsonl(files.pairs), "vocab: found none and a corpus of jsonl, ",
                 files.pairs, "; expected one (heddle vocab makes it from text)");
    stage.command.insert(stage.command.end(), {"--input", files.pairs});
  }
  append_files(stage, corpus_);
  const auto number = [this](const char* key) { return text_of(field_[key].value()); };
  stage.command.insert(
      stage.command.end(),
      {"--columns", number("source_column") + "," + number("target_column"), "--size",
       number("vocab_size"), "--lines", number("vocab_lines"), "--character-coverage",
       number("character_coverage"), "--output", vocabularies_.front()});
  stage.outputs = vocabularies_;
  plan_.stages.push_back(std::move(stage));
}

/// Held-out texts as lines, for all that judges models.
void Planner::plan_texts() {
  Stage stage{.name = "texts", .command = {"texts"}};
  std::set<std::string> names;
  const auto add = [&](const std::string& name, const data::CorpusFiles& files) {
    std::string free = name;
    for (int i = 2; !names.insert(free).second; ++i) free = str(name, "-", i);
    const DistilSet set{free, in("texts/" + free + ".source"), in("texts/" + free + ".reference")};
    plan_.sets.push_back(set);
    stage.outputs.insert(stage.outputs.end(), {set.sources, set.references});
    stage.inputs.push_back(files.pairs);
    stage.command.insert(stage.command.end(),
                         {files.pairs, str(files.source_column + 1, ",", files.target_column + 1)});
  };
  for (const data::CorpusFiles& files : held_out_) add("dev", files);
  for (const data::CorpusFiles& files : tests_) {
    const std::string file = io::file_name(files.pairs);
    add(file.substr(0, file.find('.')), files);
  }
  std::vector<data::CorpusFiles> files = held_out_;
  files.insert(files.end(), tests_.begin(), tests_.end());
  const std::string table = in("texts/dev.tsv");
  stage.outputs.push_back(table);
  stage.work = [sets = plan_.sets, files, table] { write_sets(sets, files, table); };
  plan_.stages.push_back(std::move(stage));
}

Arguments Planner::original_text() const {
  Arguments text;
  io::Value keys;
  for (const char* key : {"train_file", "validation_file", "source_column", "target_column",
                          "source_field", "target_field"}) {
    keys.set(key, field_[key].value());
  }
  append_keys(text, keys);
  for (const std::string& path : vocabularies_) text.insert(text.end(), {"--vocab", path});
  text.insert(text.end(), {"--cache_dir", in("cache")});
  return text;
}

Arguments Planner::distilled_text() const {
  Arguments text{"--train_file", in("corpus/distilled.tsv"), "--validation_file",
                 in("texts/dev.tsv")};
  for (const std::string& path : vocabularies_) text.insert(text.end(), {"--vocab", path});
  text.insert(text.end(), {"--cache_dir", in("cache")});
  return text;
}

void Planner::plan_teachers() {
  teachers_ = texts_of(field_, "teacher_model");
  for (size_t i = 0; i < teachers_.size(); ++i) {
    plan_.models.push_back(
        {.name = str("teacher-", i + 1), .folder = teachers_[i], .on_gpu = on_gpu_});
  }
  if (!teachers_.empty()) return;
  const int64_t count = field_["teachers"].integer(1, 100);
  for (int64_t i = 1; i <= count; ++i) {
    const std::string name = str("teacher-", i), folder = in(name);
    io::Value keys = training_keys("teacher");
    if (count > 1 || keys.find("seed") == nullptr) keys.set("seed", i);
    Stage stage = training(name, folder, original_text());
    append_files(stage, corpus_);
    append_files(stage, held_out_);
    append_keys(stage.command, keys);
    plan_.stages.push_back(std::move(stage));
    plan_.models.push_back({.name = name, .folder = folder, .training = name, .on_gpu = on_gpu_});
    teachers_.push_back(folder);
  }
}

std::vector<Strategy> Planner::strategies_of() const {
  std::vector<Strategy> found;
  for (const std::string& name : texts_of(field_, "strategies")) {
    bool known = false;
    for (const Strategy each : {Strategy::original, Strategy::sequence, Strategy::word}) {
      if (name != name_of(each)) continue;
      known = true;
      found.push_back(each);
    }
    HEDDLE_CHECK(known, "strategies: found '", name.substr(0, 40),
                 "'; expected original, sequence or word");
  }
  return found.empty() ? std::vector{Strategy::original, Strategy::sequence} : found;
}

void Planner::plan_translations() {
  const std::string sources = in("corpus/sources.txt"), references = in("corpus/references.txt");
  Stage first{.name = "sources", .command = {"sources"}, .outputs = {sources, references}};
  std::vector<data::CorpusFiles> hidden = held_out_;
  hidden.insert(hidden.end(), tests_.begin(), tests_.end());
  append_files(first, corpus_);
  append_files(first, hidden);
  for (const std::string& path : first.inputs) first.command.push_back(path);
  first.work = [corpus = corpus_, hidden, sources, references] {
    const data::SourceCounts counts = data::write_sources(corpus, hidden, sources, references);
    say(str(counts.pairs, " pairs: ", counts.kept, " sources, ", counts.repeated, " repeated, ",
            counts.held_out, " left out as held-out text"));
  };
  plan_.stages.push_back(std::move(first));

  const int64_t beams = field_["num_beams"].integer(1, 1000);
  const int64_t variants = field_["num_return_sequences"].integer(1, beams);
  const std::string translations = in("corpus/translations.tsv");
  Stage second{
      .name = "translations",
      .command = {"translate", "--in", sources, "--out", translations, "--beam", str(beams),
                  "--length-penalty", text_of(field_["length_penalty"].value())},
      .machine = machine(),
      .inputs = {sources},
      .outputs = {translations}};
  if (variants > 1) {
    second.command.insert(second.command.end(), {"--n-best", str(variants)});
  } else {
    second.command.emplace_back("--scores");
  }
  for (const std::string& each : teachers_) {
    second.command.insert(second.command.end(), {"--model", each});
    second.inputs.push_back(io::join_path(each, "model.safetensors"));
  }
  plan_.stages.push_back(std::move(second));

  const data::SelectionSettings settings{
      .numbered = variants > 1,
      .choice = field_["select"].text() == "bleu" ? data::Choice::bleu : data::Choice::score,
      .drop_worst = field_["drop_worst"].number(),
      .max_length_ratio = field_["max_length_ratio"].number()};
  HEDDLE_CHECK(settings.choice == data::Choice::bleu || field_["select"].text() == "score",
               "select: found '", field_["select"].text(), "'; expected score or bleu");
  const data::SelectionFiles files{sources, references, translations, in("corpus/distilled.tsv")};
  const int threads = threads_of(field_);
  Stage third{
      .name = "selection",
      .command = {"selection", "select", field_["select"].text(), "drop_worst",
                  text_of(field_["drop_worst"].value()), "max_length_ratio",
                  text_of(field_["max_length_ratio"].value())},
      .work = [=, path = plan_.selection] { write_selection(files, settings, threads, path); },
      .inputs = {sources, references, translations},
      .outputs = {files.output, plan_.selection}};
  plan_.stages.push_back(std::move(third));
}

void Planner::plan_students(const std::vector<Strategy>& strategies) {
  const io::Value common = training_keys("student");
  const auto students = field_.find("students");
  HEDDLE_CHECK(students.has_value() && !students->members().empty(),
               "students: found none; expected at least one, as tiny: {d_model: 256}");
  for (const auto& [name, given] : students->members()) {
    check_name(name, "students");
    const std::string place = "students: " + name;
    io::Value keys = common;
    if (!given.is_null()) take_training_keys(io::Field(given, place), keys);
    for (const Strategy each : strategies) plan_student(name, keys, each);
  }
}

void Planner::plan_student(const std::string& name, const io::Value& keys, Strategy strategy) {
  const std::string full = str(name, "-", name_of(strategy)), folder = in("students/" + full);
  const bool original = strategy == Strategy::original;
  Stage stage = training(full, folder, original ? original_text() : distilled_text());
  if (original) {
    append_files(stage, corpus_);
    append_files(stage, held_out_);
  } else {
    stage.inputs.insert(stage.inputs.end(), {in("corpus/distilled.tsv"), in("texts/dev.tsv")});
  }
  if (strategy == Strategy::word) {
    for (const std::string& each : teachers_) {
      stage.command.insert(stage.command.end(), {"--teacher_model", each});
      stage.inputs.push_back(io::join_path(each, "model.safetensors"));
    }
    for (const char* key : {"teacher_weight", "teacher_top_k"}) {
      stage.command.insert(stage.command.end(), {str("--", key), text_of(field_[key].value())});
    }
  }
  append_keys(stage.command, keys);
  plan_.stages.push_back(std::move(stage));
  const DistilModel model{.name = full,
                          .folder = folder,
                          .student = name,
                          .strategy = strategy,
                          .training = full,
                          .on_gpu = on_gpu_};
  plan_.models.push_back(model);
  if (!original && field_.find("int8")) plan_int8(model, keys);
}

/// The student goes on for a while as int8, and is written as that.
void Planner::plan_int8(const DistilModel& student, const io::Value& keys) {
  const std::string name = student.name + "-int8", tuned = in("students/" + name + "-tuned");
  const std::string folder = in("students/" + name);
  io::Value run = io::Value::Map{};
  for (const auto& [key, value] : *keys.map()) {
    if (!is_model_key(key)) run.set(key, value);
  }
  const io::Value own = training_keys("int8");
  for (const auto& [key, value] : *own.map()) run.set(key, value);
  Stage tuning = training(name + "-tuned", tuned, distilled_text());
  tuning.inputs.insert(tuning.inputs.end(), {in("corpus/distilled.tsv"), in("texts/dev.tsv"),
                                             io::join_path(student.folder, "model.safetensors")});
  tuning.command.insert(tuning.command.end(),
                        {"--model_name_or_path", student.folder, "--quantize_bits", "8"});
  append_keys(tuning.command, run);
  plan_.stages.push_back(tuning);
  plan_.stages.push_back({.name = name,
                          .command = {"quantize", tuned, folder, "--type", "int8"},
                          .inputs = tuning.outputs,
                          .outputs = {io::join_path(folder, "model.safetensors"),
                                      io::join_path(folder, "config.json")},
                          .folder = folder});
  DistilModel model = student;
  model.name = name;
  model.folder = folder;
  model.int8 = true;
  model.training = tuning.name;
  model.on_gpu = false;
  plan_.models.push_back(model);
}

void Planner::plan_evaluations() {
  std::string speed = field_.text_or("speed_file", "");
  if (speed.empty()) speed = plan_.sets.front().sources;
  for (const DistilModel& model : plan_.models) {
    const Evaluation task{
        .model = model,
        .sets = plan_.sets,
        .beam = field_[model.student.empty() ? "num_beams" : "eval_beams"].integer(1, 1000),
        .threads = field_["threads"].integer(0, 1024),
        .speed_threads = field_["speed_threads"].integer(1, 1024),
        .speed_file = speed,
        .output = plan_.evaluation_of(model)};
    Stage stage{.name = "evaluate-" + model.name,
                .command = {"evaluate", model.folder, "beam", str(task.beam), "on",
                            model.on_gpu ? "cuda" : "cpu", "speed", speed, str(task.speed_threads)},
                .work = [task, run = run_] { evaluate_model(task, run); },
                .inputs = {io::join_path(model.folder, "model.safetensors"), speed},
                .outputs = {task.output}};
    for (const DistilSet& set : plan_.sets) {
      stage.inputs.insert(stage.inputs.end(), {set.sources, set.references});
    }
    plan_.stages.push_back(std::move(stage));
  }
}

void Planner::plan_report() {
  Stage stage{.name = "report", .command = {"report"}, .outputs = {in("report.md")}};
  stage.work = [plan = plan_, run = run_] { write_report(plan, run); };
  stage.always = true;
  plan_.stages.push_back(std::move(stage));
}

}  // namespace

DistilPlan plan_distillation(const io::Value& config, const RunCommand& run) {
  return Planner(config, run).make();
}

}  // namespace heddle::cli
