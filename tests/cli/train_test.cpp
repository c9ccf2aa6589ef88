// heddle vocab, train and plot, as a user runs them: a toy language of words said backwards.
#include <chrono>
#include <fstream>

#include "heddle/io/json.h"
#include "tests/cli/long_command.h"

namespace heddle {
namespace {

namespace fs = std::filesystem;

class TrainCli : public LongCommand {
 protected:
  void SetUp() override {
    LongCommand::SetUp();
    write("train.tsv", language(400, 1));
    write("dev.tsv", language(20, 2));
    write("run.yaml", str("train_file: ", path("train.tsv"), "\nvalidation_file: [",
                          path("dev.tsv"), "]\nvocab: ", path("vocab.spm"),
                          "\nd_model: 16\nencoder_layers: 1\ndecoder_layers: 1\n"
                          "encoder_attention_heads: 2\ndecoder_attention_heads: 2\n"
                          "encoder_ffn_dim: 32\ndecoder_ffn_dim: 32\nnormalize_before: true\n"
                          "learning_rate: 1e-2\nwarmup_steps: 5\nmax_steps: 24\n"
                          "max_tokens_per_batch: 128\nlogging_steps: 4\neval_steps: 8\n"
                          "save_steps: 6\nema_decay: 0.9\nworkers: 2\neval_translate_lines: 4\n"
                          "gradient_accumulation_steps: 2\n"));
    const Outcome made = run("vocab --input " + path("train.tsv") + " --size 20 --output " +
                                 path("vocab.spm") + " --character-coverage 1",
                             "", "2>&1");
    ASSERT_EQ(made.code, 0) << made.output;
  }

  std::string task(const std::string& name) const {
    return "train --config " + path("run.yaml") + " --output_dir " + path(name);
  }

  /// The log without what clocks decide.
  std::string log_of(const std::string& name) const {
    const std::string text = read(name + "/log.jsonl");
    std::string untimed;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = text.find('\n', begin);
      io::Value value = io::parse_json(text.substr(begin, end - begin), "log");
      for (const char* key : {"tokens_per_second", "flops_per_second", "mfu"}) {
        if (value.find(key) != nullptr) value.set(key, 0);
      }
      untimed += io::to_json(value) + "\n";
      begin = end + 1;
    }
    return untimed;
  }

  void expect_same_end(const std::string& a, const std::string& b) const {
    EXPECT_EQ(log_of(a), log_of(b));
    for (const char* file :
         {"/model.safetensors", "/best/model.safetensors", "/config.json",
          "/checkpoint-24/model.safetensors", "/checkpoint-24/optimizer.safetensors"}) {
      EXPECT_FALSE(read(a + file).empty()) << file;
      EXPECT_EQ(read(a + file), read(b + file)) << file;
    }
  }
};

TEST_F(TrainCli, WithMariansPositionsItBecomesMarians) {
  const std::string as_marian =
      " --position_embedding_type sinusoidal_marian --decoder_type ssru --normalize_before false "
      "--max_steps 2";
  ASSERT_EQ(run(task("run") + as_marian, "", "2>&1").code, 0);
  ASSERT_EQ(
      run("convert " + path("run") + " " + path("marian") + " --format marian", "", "2>&1").code,
      0);
  const std::string lines = language(20, 3);
  const Outcome ours = run("translate --quiet --model " + path("run"), lines);
  const Outcome theirs = run("translate --quiet --model " + path("marian"), lines);
  EXPECT_EQ(ours.output, theirs.output);
  EXPECT_EQ(lines_in(ours.output), 20);
}

TEST_F(TrainCli, MakesAModelThatTranslates) {
  const Outcome outcome = run(task("run"), "", "2>&1");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  for (const char* part : {"parameters", "400 lines, 400 kept", "step 24/24", "eval_bleu",
                           "best so far", "tok/s", "padding 0 %", "all steps are done"}) {
    EXPECT_NE(outcome.output.find(part), std::string::npos) << part << "\n" << outcome.output;
  }
  const Outcome text = run("translate --quiet --model " + path("run"), "ao bo\nco\n");
  EXPECT_EQ(text.code, 0);
  EXPECT_EQ(lines_in(text.output), 2);
  EXPECT_EQ(run("translate --quiet --model " + path("run/best"), "ao\n").code, 0);
  EXPECT_EQ(run("translate --quiet --model " + path("run/checkpoint-24"), "ao\n").code, 0);
  // Flags win over the file; the file of the effective values says so.
  EXPECT_EQ(run(task("other") + " --max-steps 2 --learning_rate 0.001 2>/dev/null").code, 0);
  EXPECT_NE(read("other/train_config.json").find("\"max_steps\": 2"), std::string::npos);
  // A finished run has nothing left to do; more steps go on.
  EXPECT_NE(run(task("other") + " --max_steps 3 --learning_rate 0.001", "", "2>&1")
                .output.find("step 3: all steps are done"),
            std::string::npos);
}

TEST_F(TrainCli, StoppedAndKilledRunsGoOnToTheBit) {
  ASSERT_EQ(run(task("whole") + " 2>/dev/null").code, 0);
  const auto exists = [&](const std::string& name) { return fs::exists(path(name)); };
  // SIGTERM: a checkpoint and code 0, wherever it comes.
  EXPECT_EQ(interrupted(task("stopped"), SIGTERM, [&] { return exists("stopped/log.jsonl"); }), 0);
  EXPECT_FALSE(exists("stopped/model.safetensors"));
  ASSERT_EQ(run(task("stopped") + " 2>/dev/null").code, 0);
  expect_same_end("whole", "stopped");
  for (const char* moment : {"checkpoint-6", "checkpoint-12.tmp", "checkpoint-18", "best"}) {
    interrupted(task("killed"), SIGKILL, [&] { return exists(std::string("killed/") + moment); });
  }
  ASSERT_EQ(run(task("killed") + " 2>/dev/null").code, 0);
  expect_same_end("whole", "killed");
}

using TrainCliSlow = TrainCli;

TEST_F(TrainCliSlow, AHundredKillsAtRandomLoseNothing) {
  const auto start = std::chrono::steady_clock::now();
  ASSERT_EQ(run(task("whole") + " 2>/dev/null").code, 0);
  const auto whole = std::chrono::steady_clock::now() - start;
  Random random(8);
  int kills = 0, ends = 0;
  while (kills < 100) {
    const auto wait = whole * (0.1 + random.uniform());
    const auto begin = std::chrono::steady_clock::now();
    const int code = interrupted(task("killed"), SIGKILL,
                                 [&] { return std::chrono::steady_clock::now() - begin > wait; });
    if (code == -1) ++kills;
    if (code == -2 || code == 0) {  // done: compared, and begun anew
      expect_same_end("whole", "killed");
      fs::remove_all(path("killed"));
      ++ends;
    }
  }
  ASSERT_EQ(run(task("killed") + " 2>/dev/null").code, 0);
  expect_same_end("whole", "killed");
  EXPECT_GE(ends, 3);
  std::printf("100 kills, %d runs that came to their end between them\n", ends);
}

TEST_F(TrainCli, CK17_AChangedRunIsRefusedWithWhatChanged) {
  ASSERT_EQ(run(task("run") + " --max_steps 2 2>/dev/null").code, 0);
  const auto refused = [&](const std::string& more, std::initializer_list<const char*> parts) {
    const Outcome outcome = run(task("run") + " " + more, "", "2>&1");
    EXPECT_EQ(outcome.code, 1);
    for (const char* part : parts) {
      EXPECT_NE(outcome.output.find(part), std::string::npos) << part << "\n" << outcome.output;
    }
  };
  refused("--learning_rate 0.5", {"learning_rate: 0.01 before, 0.5 now", "another output_dir"});
  refused("--d_model 32", {"model.d_model: 16 before, 32 now"});
  refused("--workers 3", {"workers: 2 before, 3 now"});
  refused("--resume_from_checkpoint no", {"found 1 checkpoints", "expected none"});
  write("train.tsv", language(401, 1));
  refused("", {"train_text"});
  write("train.tsv", language(400, 1));
  write("more.tsv", language(500, 9));
  ASSERT_EQ(run("vocab --input " + path("more.tsv") + " --size 18 --output " + path("vocab.spm") +
                    " --character-coverage 1",
                "", "2>&1")
                .code,
            0);
  refused("", {"model.vocab_size: 20 before, 18 now"});
}

TEST_F(TrainCli, RefusesWithAReason) {
  const auto refused = [&](const std::string& yaml, std::initializer_list<const char*> parts) {
    write("bad.yaml", yaml);
    const Outcome outcome = run("train --config " + path("bad.yaml"), "", "2>&1");
    EXPECT_EQ(outcome.code, 1) << yaml;
    for (const char* part : parts) {
      EXPECT_NE(outcome.output.find(part), std::string::npos) << part << "\n" << outcome.output;
    }
  };
  const std::string out = "output_dir: " + path("bad") + "\nmax_steps: 1\n";
  refused("", {"output_dir"});
  refused("output_dir: x\n", {"max_steps or num_train_epochs"});
  refused("learning_rat: 1\n", {"'learning_rat'", "did you mean learning_rate?"});
  refused("zzzzzzzzzzzzzz: 1\n", {"--help"});
  refused("learning_rate: fast\n", {"bad.yaml: learning_rate", "expected a number"});
  refused("max_steps: 1.5\n", {"max_steps", "expected a whole number"});
  refused("normalize_before: 3\n", {"true or false"});
  refused("vocab: [1]\n", {"expected a text"});
  refused(out, {"train_file"});
  refused(out + "train_file: nowhere.tsv\n", {"vocab: found 0 files"});
  refused(out + "train_file: nowhere.tsv\nvocab: " + path("vocab.spm") + "\n", {"nowhere.tsv"});
  refused(out + "train_file: x\nvocab: " + path("vocab.spm") + "\nd_model: 100\n",
          {"d_model is 100 with 8"});
  refused(out + "train_file: x\nlr_scheduler_type: step\n", {"'step'", "inverse_sqrt"});
  refused(out + "train_file: x\nsave_total_limit: 1\nvocab: " + path("vocab.spm") + "\n",
          {"save_total_limit", "at least 2"});
  expect_refused("train --config nowhere.yaml", {"nowhere.yaml"});
  const Outcome large = run("vocab --input " + path("train.tsv") + " --output x", "", "2>&1");
  EXPECT_EQ(large.code, 1);
  EXPECT_NE(large.output.find("size too high (8000)"), std::string::npos) << large.output;
  const Outcome narrow =
      run("vocab --input " + path("train.tsv") + " --output x --columns 1,3", "", "2>&1");
  EXPECT_NE(narrow.output.find("line 1: found 2 columns; expected at least 3"), std::string::npos)
      << narrow.output;
  expect_refused("vocab --input nowhere --output x", {"nowhere"});
  expect_refused("vocab --output x", {"--input"});
  expect_refused("vocab --input " + path("train.tsv") + " --output x --model-type word", {"bpe"});
}

TEST_F(TrainCli, PlotDrawsRuns) {
  for (const char* name : {"one", "two"}) {
    ASSERT_EQ(run(task(name) + " --max_steps 9 2>/dev/null").code, 0);
  }
  const std::string runs = "plot " + path("one") + "/ --run " + path("two") + " --output ";
  EXPECT_EQ(run(runs + path("c.svg")).code, 0);
  const std::string svg = read("c.svg");
  for (const char* part : {"<svg", ">eval_bleu</text>", ">loss</text>", "/two</text>"}) {
    EXPECT_NE(svg.find(part), std::string::npos) << part;
  }
  {
    std::ofstream log(path("two") + "/log.jsonl", std::ios::app);
    log << R"({"step":9,"event":"spike","loss":1000000})"
           "\n";
  }
  EXPECT_EQ(run(runs + path("c.svg")).code, 0);
  EXPECT_EQ(read("c.svg"), svg) << "the loss of one batch is no point of the curve";
  EXPECT_EQ(run(runs + path("c.png") + " --value eval_loss --x tokens --smooth 2").code, 0);
  EXPECT_EQ(read("c.png").substr(1, 3), "PNG");
  expect_refused("plot nowhere", {"nowhere", "folder of a run"});
  expect_refused(runs + "c.gif", {".svg or .png"});
  expect_refused("plot " + path("one") + " --value bleu", {"no 'bleu'"});
}

}  // namespace
}  // namespace heddle
