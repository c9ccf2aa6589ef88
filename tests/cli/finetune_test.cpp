// `heddle finetune`, `merge` and the perplexity of `evaluate`, as a user runs them.
#include "heddle/io/json.h"
#include "heddle/tensor/cuda.h"
#include "tests/cli/model_command.h"
#include "tests/decode/small_language_model.h"

namespace heddle {
namespace {

class FinetuneCli : public ModelCommand {
 protected:
  void SetUp() override {
    std::filesystem::create_directories(path("lm"));
    for (const char* file : {"config.json", "model.safetensors"}) {
      std::filesystem::copy_file(model::language_folder("gemma3_even") + "/" + file,
                                 path(std::string("lm/") + file));
    }
    write("lm/tokenizer.json", decode::test::small_tokenizer_json());
    write("lm/tokenizer_config.json", decode::test::small_tokenizer_config());
    std::string lines;
    for (int i = 0; i < 30; ++i) {
      lines += i % 2 == 0 ? R"({"messages":[{"role":"user","content":"the inn"},)"
                            R"({"role":"assistant","content":"a cat"}]})"
                          : R"({"messages":[{"role":"user","content":"a cat"},)"
                            R"({"role":"assistant","content":"the inn"}]})";
      lines += "\n";
    }
    write("chats.jsonl", lines);
    write("run.yaml",
          str("model_name_or_path: ", path("lm"), "\ndataset: ", path("chats.jsonl"),
              "\nfinetuning_type: lora\nr: 4\nlora_target: all\ncutoff_len: 32\n"
              "packing_length: 64\nlearning_rate: 3e-2\nmax_steps: 20\n"
              "logging_steps: 5\neval_steps: 10\nsave_steps: 8\nval_size: 4\n"
              "lr_scheduler_type: constant\nworkers: 2\nreport_to: none\ndevice: cpu\n"));
  }

  std::string task(const std::string& output) const {
    return "finetune --config " + path("run.yaml") + " --output_dir " + path(output) + " ";
  }

  double perplexity(const std::string& options) const {
    const Outcome outcome =
        run("evaluate --json --dataset " + path("chats.jsonl") + " --model " + options);
    EXPECT_EQ(outcome.code, 0);
    const io::Value value = io::parse_json(outcome.output, "scores");
    return io::Field(value, "scores")["perplexity"].number();
  }
};

TEST_F(FinetuneCli, LearnsMergesAndWrites) {
  const Outcome outcome = run(task("run"), "", "2>&1");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  for (const char* part : {"30 lines, 30 kept", "parameters are trained", "step 20/20", "eval_loss",
                           "best so far", "padding 0 %", "adapter: "}) {
    EXPECT_NE(outcome.output.find(part), std::string::npos) << part << "\n" << outcome.output;
  }
  const double before = perplexity(path("lm"));
  const double after = perplexity(path("lm") + " --adapter " + path("run"));
  EXPECT_LT(after, 0.5 * before);
  // It answers as it was taught, and the answers' scores are those of the saved lines.
  const std::string answers =
      "evaluate --generate --max-new-tokens 6 --metric bleu,chrf --dataset " + path("chats.jsonl") +
      " --model " + path("lm");
  const Outcome taught =
      run(answers + " --adapter " + path("run") + " --save " + path("answers") + " 2>/dev/null");
  EXPECT_EQ(taught.code, 0);
  EXPECT_EQ(lines_in(read("answers")), 30);
  EXPECT_NE(read("answers").find("a cat"), std::string::npos) << read("answers");
  std::string references;
  for (int i = 0; i < 30; ++i) references += i % 2 == 0 ? "a cat\n" : "the inn\n";
  write("references", references);
  EXPECT_EQ(run("evaluate --metric bleu,chrf --hypotheses " + path("answers") + " --references " +
                path("references"))
                .output,
            taught.output);
  EXPECT_NE(run(answers + " 2>/dev/null").output, taught.output);
  ASSERT_EQ(run("merge --adapter " + path("run") + " --output " + path("merged")).code, 0);
  EXPECT_NEAR(perplexity(path("merged")), after, 1e-3 * after);
  EXPECT_EQ(run("merge --dtype bf16 --adapter " + path("run") + " --output " + path("half")).code,
            0);
  EXPECT_NEAR(perplexity(path("half")), after, 0.1 * after);
  // An adapter is read with the model that it names.
  const std::string prompt = " --max-new-tokens 4 --quiet --prompt 'the inn'";
  const Outcome adapted = run("generate --model " + path("run") + prompt);
  EXPECT_EQ(adapted.code, 0);
  EXPECT_EQ(adapted.output, run("generate --model " + path("merged") + prompt).output);
}

TEST_F(FinetuneCli, AllWeightsAndGoingOn) {
  ASSERT_EQ(run(task("full") + "--finetuning_type full --learning_rate 3e-3 2>/dev/null").code, 0);
  EXPECT_LT(perplexity(path("full")), 0.5 * perplexity(path("lm")));
  ASSERT_EQ(run(task("first") + "--max_steps 8 2>/dev/null").code, 0);
  ASSERT_EQ(
      run(task("second") + "--max_steps 8 --adapter_name_or_path " + path("first") + " 2>/dev/null")
          .code,
      0);
  const auto of = [&](const std::string& name) {
    return perplexity(path("lm") + " --adapter " + path(name));
  };
  EXPECT_LT(of("second"), of("first"));
}

TEST_F(FinetuneCli, EstimatesMemory) {
  const Outcome plan = run(task("run") + "--estimate");
  EXPECT_EQ(plan.code, 0);
  for (const char* part :
       {"parameters are trained", "weights", "moments", "activations", "logits", "together"}) {
    EXPECT_NE(plan.output.find(part), std::string::npos) << part << "\n" << plan.output;
  }
  EXPECT_FALSE(std::filesystem::exists(path("run")));
  const std::string small = "--cutoff_len 2000 --packing_length 4000 --max_memory 0.02";
  expect_refused(task("run") + "--estimate " + small, {"memory", "longest row that fits", "found"});
  expect_refused(task("run") + small, {"memory", "cutoff_len", "gradient_checkpointing"});
  expect_refused(task("run") + "--max_memory 0.0001", {"No row fits"});
}

TEST_F(FinetuneCli, EstimatesAGpusMemoryWithoutOne) {
  const std::string on_gpu = task("run") + "--device cuda --lora_rank 8 ";
  const Outcome plan = run(on_gpu + "--estimate --max_memory 100");
  EXPECT_EQ(plan.code, 0);
  for (const char* part : {"base, bf16 and frozen", "gradients", "moments",
                           "activations, 64 tokens", "CUDA", "together"}) {
    EXPECT_NE(plan.output.find(part), std::string::npos) << part << "\n" << plan.output;
  }
  expect_refused(on_gpu + "--estimate --max_memory 0.5", {"memory", "of the GPU", "512 MiB"});
  expect_refused(task("run") + "--device cuda --estimate",
                 {"lora_rank", "found 4", "multiple of 8"});
  if (heddle::cuda::device_count() == 0) expect_refused(on_gpu, {"device", "cuda", "expected cpu"});
}

class FinetuneCliGpu : public FinetuneCli {
 protected:
  void SetUp() override {
    FinetuneCli::SetUp();
    if (heddle::cuda::device_count() == 0) GTEST_SKIP() << "no GPU";
  }
  std::string task_on_gpu(const std::string& output) const {
    return task(output) + "--device cuda --lora_rank 8 ";
  }
};

TEST_F(FinetuneCliGpu, LearnsGoesOnAndIsReadByTheHost) {
  const Outcome outcome = run(task_on_gpu("run"), "", "2>&1");
  ASSERT_EQ(outcome.code, 0) << outcome.output;
  EXPECT_NE(outcome.output.find("step 20/20"), std::string::npos) << outcome.output;
  const double before = perplexity(path("lm"));
  const double after = perplexity(path("lm") + " --adapter " + path("run"));
  EXPECT_LT(after, 0.5 * before);
  EXPECT_NEAR(perplexity(path("lm") + " --device cuda --adapter " + path("run")), after,
              0.02 * after);
  EXPECT_NEAR(perplexity(path("lm") + " --device cuda"), before, 0.02 * before);
  // Two halves are the whole to the bit.
  ASSERT_EQ(run(task_on_gpu("parts") + "--max_steps 8 2>/dev/null").code, 0);
  ASSERT_EQ(run(task_on_gpu("parts") + "2>/dev/null").code, 0);
  EXPECT_EQ(read("parts/adapter_model.safetensors"), read("run/adapter_model.safetensors"));
  // All weights, with moments of 8 bits and layers computed again.
  ASSERT_EQ(run(task_on_gpu("full") + "--finetuning_type full --learning_rate 3e-3 --optim_bits 8 "
                                      "--gradient_checkpointing true 2>/dev/null")
                .code,
            0);
  EXPECT_LT(perplexity(path("full")), 0.5 * before);
  expect_refused(task("x") + "--device cuda --lora_rank 4", {"lora_rank", "multiple of 8"});
}

TEST_F(FinetuneCli, Refuses) {
  expect_refused("finetune", {"dataset"});
  expect_refused(task("x") + "--stage kto", {"stage", "'kto'", "sft"});
  expect_refused(task("x") + "--finetuning_type freeze", {"finetuning_type", "lora or full"});
  expect_refused(task("x") + "--lora_target query", {"query", "q_proj"});
  expect_refused(task("x") + "--device gpu", {"device", "gpu"});
  expect_refused(task("x") + "--template llama9", {"llama9", "chatml"});
  expect_refused(task("x") + "--num_train_epochs 0 --max_steps 0", {"num_train_epochs"});
  const Outcome all_held_out = run(task("x") + "--val_size 40", "", "2>&1");
  EXPECT_NE(all_held_out.output.find("val_size: found 40 of 30"), std::string::npos);
  write("bad.yaml", "lora_rnak: 8\n");
  expect_refused("finetune --config " + path("bad.yaml"), {"lora_rnak", "lora_rank"});
  expect_refused("merge --adapter " + path("lm"), {"adapter_config.json"});
  expect_refused("evaluate --dataset " + path("chats.jsonl"), {"--model"});
  expect_refused("evaluate --generate --dataset " + path("chats.jsonl"), {"--model"});
  expect_refused("evaluate --generate --model " + path("lm"), {"--dataset"});
}

}  // namespace
}  // namespace heddle
