// `heddle generate`, run as its users run it, with a tiny model whose tokenizer has 48 pieces.
#include "tests/cli/model_command.h"
#include "tests/decode/small_language_model.h"

namespace heddle {
namespace {

class GenerateCli : public ModelCommand {
 protected:
  void SetUp() override {
    make("lm", true);
    make("plain", false);
  }

  void make(const std::string& name, bool chat) const {
    std::filesystem::create_directories(path(name));
    for (const char* file : {"config.json", "model.safetensors"}) {
      std::filesystem::copy_file(model::language_folder("gemma3_even") + "/" + file,
                                 path(name + "/" + file));
    }
    write(name + "/tokenizer.json", decode::test::small_tokenizer_json());
    if (chat) write(name + "/tokenizer_config.json", decode::test::small_tokenizer_config());
  }

  Outcome run(const std::string& arguments, const std::string& input = "",
              const std::string& streams = "") const {
    return ModelCommand::run("generate " + arguments, input, streams);
  }
  void expect_refused(const std::string& arguments, std::initializer_list<const char*> parts,
                      const std::string& input = "the\n") const {
    ModelCommand::expect_refused("generate " + arguments, parts, input);
  }

  std::string lm() const { return "--model " + path("lm") + " --max-new-tokens 8 --quiet "; }
};

TEST_F(GenerateCli, PromptsFromAnywhereAreTheSame) {
  const Outcome prompt = run(lm() + "--prompt 'the inn'");
  EXPECT_EQ(prompt.code, 0);
  ASSERT_GT(prompt.output.size(), 1u);
  const Outcome lines = run(lm(), "the inn\n\na cat\nthe inn\n");
  EXPECT_EQ(lines_in(lines.output), 4);
  write("in.jsonl",
        "{\"prompt\": \"a cat\"}\n{\"messages\": [{\"role\": \"user\", \"content\": \"the "
        "inn\"}]}\n");
  const Outcome json = run(lm() + "--log-probabilities --input " + path("in.jsonl") + " --output " +
                           path("out.jsonl"));
  EXPECT_EQ(json.code, 0);
  const std::string out = read("out.jsonl");
  EXPECT_EQ(lines_in(out), 2);
  std::string flat = prompt.output;
  std::replace(flat.begin(), flat.end() - 1, '\n', ' ');
  EXPECT_EQ(lines.output.substr(0, flat.size()), flat);
  EXPECT_EQ(lines.output.substr(lines.output.size() - flat.size()), flat);
  for (const char* part : {"\"text\"", "\"finish_reason\"", "\"new_tokens\"", "\"tokens\": [",
                           "\"log_probabilities\": ["}) {
    EXPECT_NE(out.find(part), std::string::npos) << out;
  }
}

TEST_F(GenerateCli, TemplatesAndRawPromptsDiffer) {
  const std::string chat = run(lm() + "--prompt 'the inn'").output;
  EXPECT_NE(chat, run(lm() + "--raw --prompt 'the inn'").output);
  EXPECT_EQ(chat, run(lm() + "--chat-template chatml --prompt 'the inn'").output);
  EXPECT_NE(chat, run(lm() + "--system 'an ant' --prompt 'the inn'").output);
  const Outcome plain =
      run("--model " + path("plain") + " --max_new_tokens 3 --prompt the", "", "2>&1 >/dev/null");
  EXPECT_NE(plain.output.find("no chat template"), std::string::npos) << plain.output;
  EXPECT_NE(plain.output.find("prompt: 2 tokens"), std::string::npos) << plain.output;
}

TEST_F(GenerateCli, ConversationsReadOn) {
  const Outcome chat = run(lm() + "--chat", "the inn\na cat\n");
  EXPECT_EQ(chat.code, 0);
  const std::string first = run(lm() + "--prompt 'the inn'").output;
  EXPECT_EQ(chat.output.substr(0, first.size()), first);
  EXPECT_GT(chat.output.size(), first.size());
}

TEST_F(GenerateCli, SamplingRepeats) {
  const std::string sample = lm() + "--temperature 2 --top_p 0.95 --min-p 0.001 --prompt the ";
  EXPECT_EQ(run(sample + "--seed 5").output, run(sample + "--seed 5").output);
  EXPECT_NE(run(sample + "--seed 5").output, run(sample + "--seed 6").output);
  EXPECT_EQ(run(lm() + "--temperature 0 --prompt the").output, run(lm() + "--prompt the").output);
  // The file's recommendation, where no option says another.
  write("lm/generation_config.json",
        "{\"do_sample\": true, \"temperature\": 2.0, \"top_p\": 0.95, \"eos_token_id\": [2, 4]}");
  EXPECT_NE(run(lm() + "--prompt the --seed 5").output, run(lm() + "--prompt the --seed 6").output);
  EXPECT_EQ(run(lm() + "--temperature 0 --prompt the --seed 5").output,
            run(lm() + "--temperature 0 --prompt the --seed 6").output);
}

TEST_F(GenerateCli, RefusesWithAReason) {
  expect_refused("", {"--model"});
  expect_refused("--model " + path("nothing"), {"nothing"});
  expect_refused(with_model() + "--prompt a", {"encoder–decoder", "heddle translate"});
  expect_refused(lm() + "--num_beams 4 --prompt a", {"--num-beams is 4", "expected 1"});
  expect_refused(lm() + "--dtype int7", {"int7", "bf16"});
  expect_refused(lm() + "--chat --prompt a", {"several"});
  expect_refused(lm() + "--raw --system s", {"--system"});
  expect_refused(lm() + "--chat-template chat", {"chat", "gemma3"});
  expect_refused(lm() + "--chat-template gemma3", {"<start_of_turn>"});
  expect_refused(lm() + "--temperature -1", {"temperature is -1"});
  expect_refused(lm() + "--output " + path("x"), {"--input"});
  expect_refused(lm() + "--chat --context 65", {"max_position_embeddings"});
  expect_refused("--model " + path("plain") + " --chat --quiet", {"chat template"});
  std::string longer;
  for (int i = 0; i < 70; ++i) longer += "q";
  expect_refused(lm() + "--prompt " + longer, {"max_position_embeddings"});
  write("in.jsonl",
        "{\"prompt\": \"a\"}\n{\"messages\": [{\"role\": \"tool\", \"content\": \"\"}]}\n");
  expect_refused(lm() + "--input " + path("in.jsonl"), {"'tool'", "assistant"});
  std::filesystem::remove(path("plain/tokenizer.json"));
  expect_refused("--model " + path("plain"), {"found no tokenizer", "save_pretrained"});
  std::filesystem::create_directories(path("gguf"));
  write("gguf/a.gguf", "x");
  write("gguf/b.gguf", "x");
  expect_refused("--model " + path("gguf"), {"2 GGUF models", "a.gguf"});
}

}  // namespace
}  // namespace heddle
