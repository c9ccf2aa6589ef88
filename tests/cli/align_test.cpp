// `heddle finetune --stage dpo` and `rm`, and `heddle score`, as a user runs them.
#include <cmath>
#include <numbers>
#include <sstream>

#include "heddle/io/json.h"
#include "tests/cli/model_command.h"
#include "tests/decode/small_language_model.h"

namespace heddle {
namespace {

class AlignCli : public ModelCommand {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(path("lm"));
    for (const char* file : {"config.json", "model.safetensors"}) {
      std::filesystem::copy_file(model::language_folder("llama3") + "/" + file,
                                 path(std::string("lm/") + file));
    }
    write("lm/tokenizer.json", decode::test::small_tokenizer_json());
    write("lm/tokenizer_config.json", decode::test::small_tokenizer_config());
    std::string lines;
    for (int i = 0; i < 40; ++i) {
      const std::string question = i % 2 == 0 ? "the inn" : "a cat";
      lines += i % 4 == 3 ? str(R"({"prompt":")", question,
                                R"(","answers":["the cat","inn","a inn"],"ranks":[1,3,2]})")
                          : str(R"({"prompt":")", question,
                                R"(","chosen":"the cat","rejected":["inn","a inn"]})");
      lines += "\n";
    }
    write("ranked.jsonl", lines);
    write("run.yaml", str("model_name_or_path: ", path("lm"), "\ndataset: ", path("ranked.jsonl"),
                          "\nr: 4\ncutoff_len: 24\npacking_length: 96\nlearning_rate: 1e-2\n"
                          "max_steps: 20\nlogging_steps: 1\neval_steps: 10\nsave_steps: 8\n"
                          "val_size: 6\nlr_scheduler_type: constant\nworkers: 2\n"
                          "report_to: none\n"));
  }

  std::string task(const std::string& stage, const std::string& output) const {
    return "finetune --config " + path("run.yaml") + " --stage " + stage + " --output_dir " +
           path(output) + " ";
  }

  /// A member of the last line of a log that has it, or of the first.
  double logged(const std::string& output, const std::string& member, bool first = false) const {
    std::istringstream log(read(output + "/log.jsonl"));
    double found = NAN;
    for (std::string line; std::getline(log, line);) {
      const io::Value value = io::parse_json(line, "log");
      if (value.find(member) == nullptr) continue;
      found = io::Field(value, "log")[member].number();
      if (first) break;
    }
    return found;
  }

  double accuracy(const std::string& model) const {
    const Outcome outcome =
        run("score --quiet --json --input " + path("ranked.jsonl") + " --model " + path(model));
    EXPECT_EQ(outcome.code, 0);
    const io::Value value = io::parse_json(outcome.output, "figures");
    EXPECT_EQ(io::Field(value, "figures")["questions"].integer(0, 1000), 40);
    return io::Field(value, "figures")["accuracy"].number();
  }
};

TEST_F(AlignCli, RewardModelsLearnAndScore) {
  const Outcome outcome = run(task("rm", "lora"), "", "2>&1");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  for (const char* part : {"40 lines, 40 kept", "120 answers", "step 20/20", "acc 100.0 %",
                           "margin", "eval_accuracy", "adapter: "}) {
    EXPECT_NE(outcome.output.find(part), std::string::npos) << part << "\n" << outcome.output;
  }
  EXPECT_EQ(logged("lora", "accuracy"), 1);
  EXPECT_EQ(accuracy("lora"), 1);
  ASSERT_EQ(run("merge --adapter " + path("lora") + " --output " + path("merged")).code, 0);
  EXPECT_EQ(accuracy("merged"), 1);
  expect_refused("generate --model " + path("merged") + " --prompt a",
                 {"reward model", "heddle score"});
  ASSERT_EQ(run(task("rm", "full") + "--finetuning_type full 2>/dev/null").code, 0);
  EXPECT_EQ(accuracy("full"), 1);
  // It may go on as a reward model.
  ASSERT_EQ(run(task("rm", "more") + "--max_steps 2 --finetuning_type full --model_name_or_path " +
                path("full") + " 2>/dev/null")
                .code,
            0);
}

TEST_F(AlignCli, DpoBeginsAtLn2AndLearns) {
  const std::pair<const char*, const char*> cases[] = {
      {"off", ""},
      {"kept", "--precompute_ref_log_probs true"},
      {"full", "--finetuning_type full --learning_rate 1e-3"},
      {"full-kept", "--finetuning_type full --precompute_ref_log_probs true"},
      {"saved", "--modules_to_save embed_tokens"},
      {"apart", "--share_question false"},
  };
  for (const auto& [name, flags] : cases) {
    SCOPED_TRACE(name);
    const Outcome outcome = run(task("dpo", name) + flags, "", "2>&1");
    ASSERT_EQ(outcome.code, 0) << outcome.output;
    EXPECT_NEAR(logged(name, "loss", true), std::numbers::ln2, 1e-6);
    EXPECT_LT(logged(name, "loss"), 0.9 * std::numbers::ln2);
    EXPECT_EQ(logged(name, "rewards/accuracies"), 1);
    EXPECT_GT(logged(name, "eval_rewards/margins"), 0);
    EXPECT_LT(logged(name, "logps/rejected"), 0);
  }
  EXPECT_NEAR(logged("off", "loss"), logged("kept", "loss"), 1e-4);
  EXPECT_NEAR(logged("off", "loss"), logged("apart", "loss"), 0.05);  // other rows, other order
  for (const char* loss : {"ipo", "hinge", "robust", "sigmoid_norm"}) {
    EXPECT_EQ(run(task("dpo", loss) + "--max_steps 2 --pref_loss " + loss + " 2>/dev/null").code,
              0);
  }
  // Another model, and an adapter to go on from, are references too.
  ASSERT_EQ(
      run(task("dpo", "other") + "--max_steps 1 --ref_model " + path("full") + " 2>/dev/null").code,
      0);
  EXPECT_GT(std::abs(logged("other", "loss") - std::numbers::ln2), 1e-3);
  ASSERT_EQ(run(task("dpo", "again") + "--max_steps 1 --adapter_name_or_path " + path("off") +
                " 2>/dev/null")
                .code,
            0);
  EXPECT_NEAR(logged("again", "loss"), std::numbers::ln2, 1e-4);
}

TEST_F(AlignCli, TheSameCommandGoesOnToTheBit) {
  for (const std::string stage : {"dpo", "rm"}) {
    const std::string flags = stage == "dpo" ? "--precompute_ref_log_probs true" : "";
    ASSERT_EQ(run(task(stage, stage) + flags + " 2>/dev/null").code, 0);
    const std::string parts = stage + "-parts";
    ASSERT_EQ(run(task(stage, parts) + flags + " --max_steps 9 2>/dev/null").code, 0);
    ASSERT_EQ(run(task(stage, parts) + flags + " 2>/dev/null").code, 0);
    EXPECT_EQ(read(stage + "/adapter_model.safetensors"),
              read(parts + "/adapter_model.safetensors"));
    EXPECT_FALSE(read(stage + "/adapter_model.safetensors").empty());
  }
  const Outcome changed = run(
      task("dpo", "dpo") + "--precompute_ref_log_probs true --beta 0.2 --max_steps 30", "", "2>&1");
  EXPECT_EQ(changed.code, 1);
  EXPECT_NE(changed.output.find("beta: 0.1 before, 0.2 now"), std::string::npos) << changed.output;
}

TEST_F(AlignCli, ScoresComeInTheOrderOfTheLines) {
  ASSERT_EQ(run(task("rm", "lora") + "2>/dev/null").code, 0);
  write("ask.jsonl",
        "{\"prompt\":\"the inn\",\"answers\":[\"inn\",\"the cat\"]}\n\n"
        "{\"prompt\":\"a cat\",\"chosen\":\"the cat\",\"rejected\":\"inn\"}\n");
  const Outcome outcome = run("score --model " + path("lora") + " --input " + path("ask.jsonl"));
  ASSERT_EQ(outcome.code, 0);
  std::istringstream lines(outcome.output);
  std::string first, second, none;
  std::getline(lines, first);
  std::getline(lines, second);
  EXPECT_FALSE(std::getline(lines, none));
  const io::Value one = io::parse_json(first, "line"), two = io::parse_json(second, "line");
  EXPECT_EQ(io::Field(two, "line")["line"].integer(0, 9), 3);
  const auto scores = [](const io::Value& value) { return io::Field(value, "line")["scores"]; };
  EXPECT_LT(scores(one).items()[0].number(), scores(one).items()[1].number());
  EXPECT_GT(scores(two).items()[0].number(), scores(two).items()[1].number());
  EXPECT_EQ(run("score --model " + path("lora") + " --input " + path("ask.jsonl") + " --output " +
                path("scores.jsonl"))
                .code,
            0);
  EXPECT_EQ(read("scores.jsonl"), outcome.output);
  // Of a language model: how likely answers are.
  const Outcome likely = run("score --model " + path("lm") + " --input " + path("ask.jsonl"));
  EXPECT_EQ(likely.code, 0);
  EXPECT_NE(likely.output.find("[-"), std::string::npos) << likely.output;
}

TEST_F(AlignCli, Refuses) {
  expect_refused(task("kto", "x"), {"stage", "'kto'", "sft, dpo or rm"});
  expect_refused(task("dpo", "x") + "--loss_type simpo", {"loss_type", "simpo", "sigmoid_norm"});
  expect_refused(task("dpo", "x") + "--beta 0", {"beta", "above 0"});
  expect_refused(task("rm", "x") + "--center_rewards_coefficient -1", {"center_rewards"});
  expect_refused(task("dpo", "x") + "--ref_model " + path("nothing"), {"nothing"});
  expect_refused(task("dpo", "x") + "--max_memory 0.0001", {"memory"});
  expect_refused("score --model " + path("lm"), {"--input"});
  write("bad.jsonl", "{\"prompt\":\"a\",\"chosen\":\"b\"}\n");
  expect_refused("score --model " + path("lm") + " --input " + path("bad.jsonl"),
                 {"bad.jsonl: line 1", "rejected"});
  const Outcome plan = run(task("dpo", "x") + "--estimate --finetuning_type full");
  EXPECT_NE(plan.output.find("the reference"), std::string::npos) << plan.output;
}

}  // namespace
}  // namespace heddle
