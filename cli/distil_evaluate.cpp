#include "cli/distil_evaluate.h"

#include <filesystem>

#include "cli/training_run.h"
#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/source.h"
#include "heddle/model/formats/formats.h"
#include "heddle/text/line_reader.h"
#include "heddle/text/score/metric.h"
#include "heddle/train/translation.h"

namespace heddle::cli {

namespace {

constexpr size_t kAllLines = size_t{1} << 40;
constexpr uint64_t kLongestSummary = uint64_t{1} << 20;  // bytes

std::vector<std::string> read_lines(const std::string& path) {
  text::LineReader reader(text::read_from_file(path), path);
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);) lines.push_back(line);
  return lines;
}

std::string lines_of(const std::vector<std::string>& texts) {
  std::string lines;
  for (const std::string& each : texts) lines += each + "\n";
  return lines;
}

io::Value scores_of(const std::vector<std::string>& hypotheses, const std::string& references) {
  const std::vector<std::vector<std::string>> lines{read_lines(references)};
  io::Value scores;
  for (const char* metric : {"bleu", "chrf"}) {
    scores.set(metric, score_corpus(*text::score::make_metric(metric), hypotheses, lines).value);
  }
  return scores;
}

std::vector<std::string> translate_command(const Evaluation& task, const std::string& in,
                                           const std::string& out) {
  return {"translate",
          "--model",
          task.model.folder,
          "--in",
          in,
          "--out",
          out,
          "--beam",
          str(task.beam),
          "--device",
          task.model.on_gpu ? "cuda" : "cpu"};
}

/// Words a second of source text, from text to text, the model in memory.
io::Value speed_of(const Evaluation& task, const RunCommand& run) {
  const std::string out = task.output + ".speed", summary = out + ".json";
  auto command = translate_command(task, task.speed_file, out);
  const int64_t threads = task.model.on_gpu ? task.threads : task.speed_threads;
  command.insert(command.end(),
                 {"--restart", "--quiet", "--threads", str(threads), "--json", summary});
  run(command);
  const io::Value found = io::parse_json(io::read_text(summary, kLongestSummary), summary);
  const io::Field fields(found, summary);
  io::Value speed;
  for (const char* key : {"source_words", "words_per_second", "threads"}) {
    speed.set(key, fields[key].value());
  }
  std::filesystem::remove(out);
  std::filesystem::remove(summary);
  return speed;
}

}  // namespace

const char* name_of(Strategy strategy) {
  switch (strategy) {
    case Strategy::original:
      return "original";
    case Strategy::sequence:
      return "sequence";
    case Strategy::word:
      return "word";
  }
  return "";
}

std::string DistilPlan::evaluation_of(const DistilModel& model) const {
  return io::join_path(folder, "evaluation/" + model.name + ".json");
}

void evaluate_model(const Evaluation& task, const RunCommand& run) {
  const std::string folder = io::folder_of(task.output);
  io::make_folder(folder);
  const model::ModelFiles files = model::load_model(task.model.folder);
  int64_t parameters = 0;
  for (const auto& [name, parameter] : files.parameters) parameters += parameter.values.elements();
  const std::string weights = io::join_path(task.model.folder, "model.safetensors");
  io::Value sets = io::Value::Map{};
  for (const DistilSet& set : task.sets) {
    const std::string out = io::join_path(folder, str(task.model.name, ".", set.name, ".txt"));
    auto command = translate_command(task, set.sources, out);
    command.insert(command.end(), {"--quiet", "--threads", str(task.threads)});
    run(command);
    sets.set(set.name, scores_of(read_lines(out), set.references));
  }
  io::Value value;
  value.set("model", task.model.name);
  value.set("parameters", parameters);
  value.set("bytes", static_cast<int64_t>(std::filesystem::file_size(weights)));
  value.set("device", task.model.on_gpu ? "cuda" : "cpu");
  value.set("beam", task.beam);
  value.set("sets", std::move(sets));
  value.set("speed", speed_of(task, run));
  io::write_file(task.output, io::to_json(value, 1) + "\n");
}

void write_sets(const std::vector<DistilSet>& sets, const std::vector<data::CorpusFiles>& files,
                const std::string& table) {
  io::make_folder(io::folder_of(table));
  std::string rows;
  for (size_t i = 0; i < sets.size(); ++i) {
    const train::HeldOutText text = train::read_held_out({files[i]}, kAllLines);
    HEDDLE_CHECK(!text.sources.empty(), files[i].pairs,
                 ": found no pair; expected some to judge by");
    io::write_file(sets[i].sources, lines_of(text.sources));
    io::write_file(sets[i].references, lines_of(text.references));
    if (!sets[i].name.starts_with("dev")) continue;
    for (size_t j = 0; j < text.sources.size(); ++j) {
      rows += text.sources[j] + "\t" + text.references[j] + "\n";
    }
  }
  io::write_file(table, rows);
}

void write_selection(const data::SelectionFiles& files, const data::SelectionSettings& settings,
                     int threads, const std::string& path) {
  ThreadPool pool(threads);
  const data::SelectionCounts counts = data::select_translations(files, settings, pool);
  say(counts.summary());
  io::Value value;
  value.set("sources", static_cast<int64_t>(counts.sources));
  value.set("kept", static_cast<int64_t>(counts.kept));
  value.set("empty", static_cast<int64_t>(counts.empty));
  value.set("bad_length", static_cast<int64_t>(counts.bad_length));
  value.set("improbable", static_cast<int64_t>(counts.improbable));
  value.set("mean_score", counts.mean_score);
  value.set("least_score", counts.least_score);
  value.set("bleu", counts.bleu);
  io::write_file(path, io::to_json(value, 1) + "\n");
}

}  // namespace heddle::cli
