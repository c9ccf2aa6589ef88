// heddle distil, as a user runs it: a toy language, from a corpus to students in int8.
#include <map>

#include "heddle/io/json.h"
#include "tests/cli/long_command.h"

namespace heddle {
namespace {

namespace fs = std::filesystem;

class DistilCli : public LongCommand {
 protected:
  void SetUp() override {
    LongCommand::SetUp();
    write("train.tsv", language(300, 1));
    write("dev.tsv", language(20, 2));
    write("test.tsv", language(10, 3));
    write("distil.yaml",
          str("train_file: ", path("train.tsv"), "\nvalidation_file: ", path("dev.tsv"),
              "\ntest_file: ", path("test.tsv"),
              "\nvocab_size: 20\ncharacter_coverage: 1\nthreads: 2\n"
              "teachers: 2\nteacher: {",
              kModel,
              ", max_steps: 12}\n"
              "num_beams: 3\nnum_return_sequences: 2\nselect: bleu\nmax_length_ratio: 10\n"
              "student: {",
              kModel,
              ", max_steps: 8}\n"
              "students:\n  small: {d_model: 8}\n  light: {decoder_type: ssru, seed: 3}\n"
              "strategies: [original, sequence, word]\nteacher_top_k: 3\n"
              "int8: {max_steps: 4, learning_rate: 1e-3}\n"));
  }

  static constexpr const char* kModel =
      "d_model: 16, encoder_layers: 1, decoder_layers: 1, encoder_attention_heads: 2, "
      "decoder_attention_heads: 2, encoder_ffn_dim: 32, decoder_ffn_dim: 32, "
      "normalize_before: true, learning_rate: 1e-2, warmup_steps: 5, max_tokens_per_batch: 128, "
      "logging_steps: 4, eval_steps: 4, save_steps: 2, workers: 2, eval_translate_lines: 4";

  std::string task(const std::string& name) const {
    return "distil --config " + path("distil.yaml") + " --output_dir " + path(name);
  }

  /// All that does not depend on clocks, by name.
  std::map<std::string, std::string> results(const std::string& name) const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(path(name))) {
      const std::string file = fs::relative(entry.path(), path(name)).string();
      const bool timed = file.starts_with("evaluation/") && file.ends_with(".json");
      const bool kept = file.ends_with(".safetensors") || file.ends_with(".spm") ||
                        file.ends_with(".tsv") || file.ends_with(".txt") ||
                        file.ends_with(".tokens") || file.ends_with("selection.json");
      if (file.find("/checkpoint-") == file.npos && (kept || timed)) {
        files[file] = timed ? untimed(name + "/" + file) : read(name + "/" + file);
      }
    }
    return files;
  }

  std::string untimed(const std::string& file) const {
    io::Value value = io::parse_json(read(file), file);
    value.set("speed", 0);
    return io::to_json(value);
  }

  void expect_same_results(const std::string& a, const std::string& b) const {
    const auto first = results(a), second = results(b);
    EXPECT_GT(first.size(), 40u);
    for (const auto& [file, bytes] : first) {
      ASSERT_TRUE(second.contains(file)) << file;
      EXPECT_TRUE(second.at(file) == bytes) << file << " differs";
    }
    EXPECT_EQ(first.size(), second.size());
  }

  void expect_distil_refused(const std::string& flags,
                             std::initializer_list<const char*> parts) const {
    const Outcome outcome = run(task("run") + " " + flags, "", "2>&1");
    EXPECT_EQ(outcome.code, 1) << flags;
    for (const char* part : parts) {
      EXPECT_NE(outcome.output.find(part), std::string::npos) << part << "\n" << outcome.output;
    }
  }
};

/// The stages, in their order.
const char* const kStages[] = {"vocab",
                               "texts",
                               "teacher-1",
                               "teacher-2",
                               "sources",
                               "translations",
                               "selection",
                               "small-original",
                               "small-sequence",
                               "small-sequence-int8-tuned",
                               "small-sequence-int8",
                               "small-word",
                               "small-word-int8-tuned",
                               "light-word",
                               "light-word-int8",
                               "evaluate-teacher-1",
                               "evaluate-small-word-int8",
                               "evaluate-light-sequence"};

TEST_F(DistilCli, MakesStudentsAndAReport) {
  const Outcome outcome = run(task("run"), "", "2>&1");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_NE(outcome.output.find("train: 300 lines, 300 kept"), std::string::npos) << outcome.output;
  const std::string report = read("run/report.md");
  for (const char* part :
       {"| teacher-2 |", "| small-original |", "| light-word-int8 |", "dev BLEU", "test BLEU",
        "against the best teacher", "against itself without distillation", "against itself in f32",
        "sources;", "quality_speed.svg", "curves.svg", "## Examples",
        "heddle train --output_dir students/small-word"}) {
    EXPECT_NE(report.find(part), std::string::npos) << part << "\n" << report;
  }
  EXPECT_NE(read("run/quality_speed.svg").find("<svg"), std::string::npos);
  EXPECT_NE(read("run/curves.svg").find("<svg"), std::string::npos);
  // What it says of int8 is what is there.
  const Outcome inspected = run("inspect " + path("run/students/small-word-int8"));
  EXPECT_NE(inspected.output.find("i8"), std::string::npos) << inspected.output;
  for (const char* folder : {"teacher-1", "students/small-sequence", "students/light-word-int8"}) {
    const Outcome text = run("translate --quiet --model " + path("run/") + folder, "ao bo\n");
    EXPECT_EQ(lines_in(text.output), 1) << folder;
  }
  // The scores are those of heddle evaluate.
  write("hypotheses", read("run/evaluation/small-word.dev.txt"));
  const Outcome scored =
      run("evaluate --metric bleu --json --digits 6 --hypotheses " + path("hypotheses") +
          " --references " + path("run/texts/dev.reference"));
  const io::Value json = io::parse_json(scored.output, "scores");
  const std::string file = "run/evaluation/small-word.json";
  const io::Value judged = io::parse_json(read(file), file);
  EXPECT_NEAR(io::Field(judged, file)["sets"]["dev"]["bleu"].number(),
              io::Field(json, "scores").items().at(0)["score"].number(), 1e-5);
  // Nothing is done twice.
  const Outcome again = run(task("run"), "", "2>&1");
  EXPECT_EQ(again.code, 0);
  EXPECT_EQ(again.output.find("== "), again.output.rfind("== ")) << again.output;  // the report
  const Outcome list = run(task("run") + "/ --list");
  EXPECT_NE(list.output.find("done light-word-int8"), std::string::npos) << list.output;
}

TEST_F(DistilCli, StoppedAtEveryStageAndKilledInTheMiddleItEndsTheSame) {
  ASSERT_EQ(run(task("whole") + " 2>/dev/null").code, 0);
  for (const char* stage : kStages) {
    const Outcome outcome = run(task("stopped") + " --until " + stage, "", "2>&1");
    ASSERT_EQ(outcome.code, 0) << outcome.output;
  }
  ASSERT_EQ(run(task("stopped") + " 2>/dev/null").code, 0);
  expect_same_results("whole", "stopped");

  // Killed again and again, later and later, so that every stage is hit somewhere.
  using Clock = std::chrono::steady_clock;
  int kills = 0;
  for (auto wait = std::chrono::milliseconds(5);; wait += std::chrono::milliseconds(7)) {
    const auto begin = Clock::now();
    const int code =
        interrupted(task("killed"), SIGKILL, [&] { return Clock::now() - begin > wait; });
    if (code == -2) break;
    ++kills;
  }
  EXPECT_GE(kills, 10);
  ASSERT_EQ(run(task("killed") + " 2>/dev/null").code, 0);
  expect_same_results("whole", "killed");

  // A signal that asks is obeyed with the code of one, and the next run goes on.
  const int code = interrupted(task("asked"), SIGTERM, [&] {
    return fs::exists(path("asked/students/small-original/log.jsonl"));
  });
  EXPECT_EQ(code, 130);
  ASSERT_EQ(run(task("asked") + " 2>/dev/null").code, 0);
  expect_same_results("whole", "asked");
}

TEST_F(DistilCli, WhatChangedIsRefusedAndDoneAgainWhenAsked) {
  ASSERT_EQ(run(task("run") + " --until light-original 2>/dev/null").code, 0);
  expect_distil_refused("--drop_worst 0.1",
                        {"selection was done with something else", "drop_worst 0.02",
                         "drop_worst 0.1", "--redo selection"});
  expect_distil_refused("--redo selectio", {"no stage 'selectio'", "--list"});
  const std::string teacher = read("run/teacher-1/model.safetensors");
  const Outcome redone = run(task("run") + " --drop_worst 0.1 --redo selection", "", "2>&1");
  ASSERT_EQ(redone.code, 0) << redone.output;
  EXPECT_NE(redone.output.find("== small-sequence ("), std::string::npos) << redone.output;
  EXPECT_EQ(redone.output.find("== small-original ("), std::string::npos) << redone.output;
  EXPECT_EQ(read("run/teacher-1/model.safetensors"), teacher);
  write("run/students/small-word/config.json", "{}");
  expect_distil_refused("--drop_worst 0.1", {"small-word was done", "config.json has changed"});
  fs::remove(path("run/students/small-word/config.json"));
  expect_distil_refused("--drop_worst 0.1", {"config.json is gone"});
  write("train.tsv", language(301, 1));
  expect_distil_refused("--drop_worst 0.1", {"vocab was done", "train.tsv has changed"});
}

TEST_F(DistilCli, RefusesWithAReason) {
  const std::string good = read("distil.yaml");
  const auto refused = [&](const std::string& more, std::initializer_list<const char*> parts) {
    write("distil.yaml", good + more);
    expect_distil_refused("", parts);
    write("distil.yaml", good);
  };
  expect_distil_refused("--strategies both", {"'both'", "original, sequence or word"});
  expect_distil_refused("--num_return_sequences 4", {"num_return_sequences"});
  expect_distil_refused("--select best", {"'best'", "score or bleu"});
  expect_distil_refused("--drop_worst 1", {"drop_worst", "below 1"});
  expect_distil_refused("--train_file nowhere.tsv", {"nowhere.tsv"});
  expect_distil_refused("--teacher_model nowhere", {"nowhere"});
  refused("teache: {}\n", {"'teache'", "did you mean teacher?"});
  write("distil.yaml", "output_dir: x\ntrain_file: a\nvalidation_file: b\nvocab: c\n");
  expect_distil_refused("", {"students: found none"});
  write("distil.yaml", "train_file: a\nvalidation_file: b\nvocab: c\nstudents: {a/b: {}}\n");
  expect_distil_refused("", {"the name 'a/b'"});
  write("distil.yaml", "train_file: a\nvalidation_file: b\nvocab: c\nstudents: {a: {vocab: x}}\n");
  expect_distil_refused("", {"found vocab"});
  write("distil.yaml", "train_file: a\nvalidation_file: b\nvocab: c\nstudents: {a: {d_mode: 1}}\n");
  expect_distil_refused("", {"students: a", "'d_mode'", "d_model"});
  expect_refused("distil --config nowhere.yaml", {"nowhere.yaml"});
}

}  // namespace
}  // namespace heddle
