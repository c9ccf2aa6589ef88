// What hurts users of other tools, by its number in their order: silent damage first. Several GPUs
// (3) and preferences (5, 6) are no matter of this module.
#include <bit>
#include <cmath>

#include "heddle/data/chat_tokens.h"
#include "heddle/data/conversation_reader.h"
#include "heddle/data/row_packer.h"
#include "heddle/io/source.h"
#include "heddle/model/training.h"
#include "heddle/text/tokenizer_json.h"
#include "heddle/train/memory_plan.h"
#include "tests/train/language_case.h"

namespace heddle::train {
namespace {

class FinetunePains : public LanguageCase {
 protected:
  /// All documents in one row.
  static data::PackedBatch packed(const data::TokenExamples& examples) {
    data::PackedBatch batch;
    RowBatches(examples, {.packing_length = 4096, .shuffle = false}, 1).open({})->next(batch);
    return batch;
  }

  static data::TokenExamples part(const data::TokenExamples& all, uint64_t first, uint64_t count) {
    return {all.tokens, all.offsets.subspan(first, count + 1)};
  }

  static model::TrainingBatch view(const data::PackedBatch& batch) {
    return {.pair = {.targets = batch.targets, .target_offsets = batch.target_offsets},
            .labels = batch.labels};
  }

  static std::vector<float> gradients(const model::TrainingTransformer& model) {
    std::vector<float> all;
    for (const auto& slot : model.slots()) {
      const float* from = slot.gradient.data<float>();
      all.insert(all.end(), from, from + slot.gradient.elements());
    }
    return all;
  }

  static void expect_near(const std::vector<float>& found, const std::vector<float>& expected) {
    ASSERT_EQ(found.size(), expected.size());
    float largest = 0;
    for (const float each : expected) largest = std::max(largest, std::abs(each));
    for (size_t i = 0; i < found.size(); ++i) {
      ASSERT_NEAR(found[i], expected[i], 2e-5f * largest) << i;
    }
  }

  static text::BpeTokenizer tokenizer(const std::string& name, const std::string& config = {}) {
    const std::string path =
        std::filesystem::path(HEDDLE_TEST_DATA).parent_path() / "golden" / "bpe" / (name + ".json");
    return text::make_bpe_tokenizer(io::read_text(path, 1 << 26), path, config, "config");
  }

  /// Adapters of all kinds, and all weights.
  static std::vector<model::TrainingTransformer> models() {
    std::vector<model::TrainingTransformer> made;
    made.emplace_back(base());
    for (const bool dora : {false, true}) {
      made.emplace_back(base(), model::new_adapter(base(), {.rank = 2, .use_dora = dora}, 3));
    }
    return made;
  }
};

TEST_F(FinetunePains, P01PackedLossAndGradientsAreThoseOneByOne) {
  const RandomExamples examples(12);
  const data::PackedBatch row = packed(examples.view());
  ASSERT_EQ(row.sentences(), 12);
  for (model::TrainingTransformer& model : models()) {
    model::LossSums alone;
    model.zero_gradients();
    for (uint64_t i = 0; i < 12; ++i) {
      alone += model.forward_backward(view(packed(part(examples.view(), i, 1))), {});
    }
    const std::vector<float> expected = gradients(model);
    model.zero_gradients();
    const model::LossSums together = model.forward_backward(view(row), {});
    EXPECT_NEAR(together.loss, alone.loss, 1e-5 * alone.loss);
    EXPECT_EQ(together.tokens, alone.tokens);
    expect_near(gradients(model), expected);
  }
}

TEST_F(FinetunePains, P02TheMaskIsNotASuggestion) {
  // Whatever the other documents hold, NaN as well, a document has the same loss; and skipping
  // what the mask hides changes no bit.
  const RandomExamples examples(3);
  data::PackedBatch row = packed(examples.view());
  const auto first = row.target_offsets[1], second = row.target_offsets[2];
  for (size_t t = 0; t < row.labels.size(); ++t) {
    const auto at = static_cast<int32_t>(t);
    if (at < first || at >= second) row.labels[t] = -1;
  }
  model::TrainingTransformer model(base());
  const double before = model.loss(view(row)).loss;
  EXPECT_EQ(model.loss(view(row), {.skip_tiles = false}).loss, before);
  for (size_t t = 0; t < row.targets.size(); ++t) {
    const auto at = static_cast<int32_t>(t);
    if (at < first || at >= second) row.targets[t] = (row.targets[t] + 17) % 48;
  }
  EXPECT_EQ(model.loss(view(row)).loss, before);
}

TEST_F(FinetunePains, P04PositionsBeginAnewInEachDocument) {
  const RandomExamples examples(8);
  data::PackedRow row;
  ASSERT_TRUE(data::RowPacker(examples.view(), {.packing_length = 4096}).next(row));
  for (size_t i = 0; i + 1 < row.offsets.size(); ++i) {
    for (int32_t t = row.offsets[i]; t < row.offsets[i + 1]; ++t) {
      EXPECT_EQ(row.positions[static_cast<size_t>(t)], t - row.offsets[i]);
    }
  }
  // Rotary angles too: the same document at the beginning and at the end of a row.
  const data::TokenExamples all = examples.view();
  data::PackedBatch twice = packed(all);
  const auto append = packed(part(all, 0, 1));
  const auto end = static_cast<int32_t>(twice.targets.size());
  std::fill(twice.labels.begin(), twice.labels.end(), -1);
  twice.targets.insert(twice.targets.end(), append.targets.begin(), append.targets.end());
  twice.labels.insert(twice.labels.end(), append.labels.begin(), append.labels.end());
  twice.target_offsets.push_back(end + append.target_offsets.back());
  const model::TrainingTransformer model(base());
  const double alone = model.loss(view(append)).loss;
  EXPECT_NEAR(model.loss(view(twice)).loss, alone, 1e-5 * alone);
}

TEST_F(FinetunePains, P07TheMemoryIsKnownBeforeTheFirstStep) {
  const PlannedRun run{.lora = lora(), .longest = 64, .batch_tokens = 4096, .workers = 2};
  const RandomExamples examples(400);
  model::ModelFiles files = base();
  model::TrainingTransformer model(files, model::new_adapter(files, lora(), 3));
  data::PackedBatch batch;
  RowBatches(examples.view(), {.packing_length = 4096}, 1).open({})->next(batch);
  for (int i = 0; i < 2; ++i) {  // the second takes what the first has needed
    model.forward_backward(view(batch), {.workers = 2}, &threads_);
  }
  int64_t planned = 0;
  for (const MemoryPart& part : plan_memory(files.config, run).parts) {
    const bool counted = part.name.find("activations") == 0 || part.name == "their gradients" ||
                         part.name == "logits";
    planned += counted ? part.bytes : 0;
  }
  EXPECT_GT(planned, model.workspace_bytes() / 2);  // whose blocks double
  EXPECT_LT(planned, 3 * model.workspace_bytes());
}

TEST_F(FinetunePains, P08AStoppedRunGoesOnToTheBit) {
  const auto run = [&](const std::string& folder, int64_t stop) {
    const auto model = make(lora());
    const RandomExamples examples(40);
    const RowBatches batches(examples.view(), {.packing_length = 40, .window = 15}, 1);
    int64_t steps = 0;
    TrainerHooks hooks;
    hooks.report = [&](const Report&) { ++steps; };
    hooks.stop_requested = [&] { return stop > 0 && steps >= stop; };
    train::train(*model, batches, nullptr, settings(folder, 20), hooks);
    return read(folder + "/checkpoint-20/master_weights.safetensors");
  };
  const std::string whole = run("whole", 0);
  EXPECT_FALSE(whole.empty());
  run("parts", 3);
  run("parts", 8);
  EXPECT_EQ(run("parts", 0), whole);
}

TEST_F(FinetunePains, P09AccumulationWeighsTokensNotBatches) {
  // Two batches of very different length: the same update as of both in one.
  const auto update = [&](const std::string& folder, int64_t rows, int accumulation) {
    const auto model = make(model::LoraSettings{.rank = 3, .alpha = 6});
    const RandomExamples examples(2, 8);
    const RowBatches batches(examples.view(),
                             {.packing_length = 20, .shuffle = false, .packs = false}, rows);
    TrainerSettings given = settings(folder, 1);
    given.accumulation = accumulation;
    double norm = 0, loss = 0;
    TrainerHooks hooks;
    hooks.report = [&](const Report& report) { norm = report.grad_norm, loss = report.loss; };
    train::train(*model, batches, nullptr, given, hooks);
    return std::pair(norm, loss);
  };
  const auto [norm, loss] = update("one", 2, 1);
  const auto [norm2, loss2] = update("two", 1, 2);
  EXPECT_NEAR(norm2, norm, 1e-5 * norm);
  EXPECT_NEAR(loss2, loss, 1e-6 * loss);
}

data::Conversation question(const std::string& answer = "It is.") {
  return {.turns = {{data::Role::user, "Is it?"}, {data::Role::assistant, answer}},
          .prompt_turns = 1};
}

TEST_F(FinetunePains, P10TheEndOfAnAnswerIsLearned) {
  const text::BpeTokenizer qwen = tokenizer("qwen2", R"({"eos_token": "<|endoftext|>"})");
  const data::ChatTokens tokens(qwen, data::render_turns(text::ChatTemplate::named("chatml"), qwen),
                                {});
  data::TokenExample example;
  tokens.encode(question(), "x", example);
  const int32_t end = qwen.id_of("<|im_end|>");
  std::vector<bool> learned;  // of the ends, in order
  for (size_t i = 0; i < example.tokens.size(); ++i) {
    if (example.tokens[i] == end) learned.push_back(example.learned[i] != 0);
  }
  EXPECT_EQ(learned, (std::vector<bool>{false, true}));  // by place, not by id

  // A raw text ends with eos, which is learned, whatever pads are called.
  data::Conversation raw{.turns = {{data::Role::assistant, "text"}}, .raw = true};
  raw.format = data::DatasetFormat::text;
  tokens.encode(raw, "x", example);
  EXPECT_EQ(example.tokens.back(), qwen.eos());
  EXPECT_EQ(example.learned.back(), 1);
}

TEST_F(FinetunePains, P11NoExampleTrainsOnNothing) {
  const struct {
    const char *tokenizer, *chat;
  } cases[] = {{"qwen2", "chatml"}, {"qwen2", "qwen2"},   {"qwen2", "qwen2.5"},
               {"qwen2", "qwen3"},  {"llama2", "llama2"}, {"llama2", "mistral-v0.1"}};
  for (const auto& [name, chat] : cases) {
    SCOPED_TRACE(chat);
    const text::BpeTokenizer of = tokenizer(name);
    const data::ChatTokens tokens(of, data::render_turns(text::ChatTemplate::named(chat), of), {});
    data::TokenExample example;
    ASSERT_EQ(tokens.encode(question(), "x", example), data::TokenOutcome::kept);
    std::vector<int32_t> learned;
    for (size_t i = 0; i < example.tokens.size(); ++i) {
      if (example.learned[i] != 0) learned.push_back(example.tokens[i]);
    }
    EXPECT_NE(of.decode(learned).find("It is."), std::string::npos) << of.decode(learned);
    EXPECT_EQ(of.decode(learned).find("Is it?"), std::string::npos);
  }
  // An answer that is cut off leaves nothing to learn: the example is counted and left out.
  const text::BpeTokenizer qwen = tokenizer("qwen2");
  const auto chatml = data::render_turns(text::ChatTemplate::named("chatml"), qwen);
  data::TokenExample example;
  EXPECT_EQ(
      data::ChatTokens(qwen, chatml,
                       {.max_length = 6, .excess_length_strategy = data::ExcessLength::truncate})
          .encode(question(), "x", example),
      data::TokenOutcome::nothing_learned);
}

TEST_F(FinetunePains, P12OneBeginningOfText) {
  const text::BpeTokenizer llama =
      tokenizer("llama2", R"({"bos_token": "<s>", "eos_token": "</s>"})");  // <s> before texts
  const data::ChatTokens tokens(llama,
                                data::render_turns(text::ChatTemplate::named("llama2"), llama), {});
  data::TokenExample example;
  tokens.encode(question(), "x", example);
  EXPECT_EQ(std::ranges::count(example.tokens, llama.bos()), 1);
  EXPECT_EQ(example.tokens.front(), llama.bos());
}

TEST_F(FinetunePains, P13ThePromptHasTheTokensThatGenerationGivesIt) {
  for (const char* name : {"qwen2", "llama2", "gemma", "mistral"}) {
    SCOPED_TRACE(name);
    const text::BpeTokenizer of = tokenizer(name);
    const data::ChatTokens tokens(of, {}, {});
    for (const auto& [prompt, answer] :
         {std::pair("Question: why?\nAnswer:", " Because."), std::pair("a", "b"),
          std::pair("x ", " y"), std::pair("\n", "\n\n")}) {
      data::Conversation raw{.turns = {{data::Role::user, prompt}, {data::Role::assistant, answer}},
                             .prompt_turns = 1,
                             .raw = true,
                             .format = data::DatasetFormat::prompt_completion};
      data::TokenExample example;
      tokens.encode(raw, "x", example);
      std::vector<int32_t> read;
      for (size_t i = 0; i < example.tokens.size() && example.learned[i] == 0; ++i) {
        read.push_back(example.tokens[i]);
      }
      EXPECT_EQ(read, of.encode(prompt, {.allow_special = false})) << prompt;
    }
  }
}

TEST_F(FinetunePains, P14DataErrorsNameFileLineAndField) {
  const std::string file = write("chats.jsonl",
                                 "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},"
                                 "{\"role\":\"assistant\",\"content\":\"b\"}]}\n"
                                 "{\"messages\":[{\"role\":\"user\",\"content\":7}]}\n");
  heddle::testing::expect_refused(
      [&] {
        auto reader = data::open_conversations(file, data::state_of_file(file));
        for (data::Conversation each; reader.next(each);) {
        }
      },
      {"chats.jsonl", "line 2", "content"});
}

TEST_F(FinetunePains, P15WhatIsSavedIsWholeAndLoads) {
  const auto model = make(lora());
  const RandomExamples examples(20);
  const RowBatches batches(examples.view(), {.packing_length = 40}, 1);
  train::train(*model, batches, nullptr, settings("run", 30));
  // Each of the checkpoints that are kept begins a model as PEFT reads it, and nothing is left
  // over.
  for (const char* step : {"15", "30"}) {
    const std::string folder = str("run/checkpoint-", step, "/");
    for (const char* name :
         {"adapter_config.json", "adapter_model.safetensors", "master_weights.safetensors",
          "optimizer.safetensors", "trainer_state.json"}) {
      EXPECT_FALSE(read(folder + name).empty()) << folder << name;
    }
  }
  for (const auto& each : std::filesystem::directory_iterator(path("run"))) {
    EXPECT_FALSE(each.path().string().ends_with(".tmp")) << each.path();
  }
}

}  // namespace
}  // namespace heddle::train
