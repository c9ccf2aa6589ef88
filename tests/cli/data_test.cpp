// `heddle data preview`, as a user runs it.
#include "tests/cli/model_command.h"

namespace heddle {
namespace {

class DataCli : public ModelCommand {
 protected:
  std::string preview(const std::string& options) const {
    const Outcome outcome = run("data preview " + with_files() + options);
    EXPECT_EQ(outcome.code, 0) << options;
    return outcome.output;
  }

  std::string with_files() const {
    const auto tests = std::filesystem::path(HEDDLE_TEST_DATA).parent_path();
    return "--dataset " + path("chats.jsonl") + " --model " +
           (tests / "golden" / "bpe" / "qwen2.json").string() + " --template chatml ";
  }

  void SetUp() override {
    write("chats.jsonl", R"({"messages":[{"role":"user","content":"the \u001b[31m cat"},)"
                         R"({"role":"assistant","content":"sat"}]})"
                         "\n"
                         R"({"messages":[{"role":"user","content":"where?"},)"
                         R"({"role":"assistant","content":"on the mat\nthere"}]})"
                         "\n");
  }
};

TEST_F(DataCli, ShowsWhatIsLearned) {
  const std::string text = preview("");
  for (const char* part :
       {"line 1: ", "line 2: ", "<|im_start|>assistant\n\u27E6sat<|im_end|>\u27E7\n",
        "\u27E6on the mat\nthere<|im_end|>\u27E7\n", "the \\x1b[31m cat<|im_end|>", "2 kept",
        "documents    2\n", "padding      0\n", "mask density "}) {
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  }
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST_F(DataCli, Colors) {
  const std::string text = preview("--color always");
  EXPECT_NE(text.find("\x1b[1;32msat<|im_end|>\x1b[0m\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("\u27E6"), std::string::npos);
}

TEST_F(DataCli, PicturesAndParts) {
  const std::string text = preview("--most-tokens 3 --train-on all --picture " + path("row.svg"));
  EXPECT_NE(text.find("more tokens (--most-tokens)"), std::string::npos) << text;
  EXPECT_NE(read("row.svg").find("2 documents"), std::string::npos);
  preview("--picture " + path("row.png"));
  EXPECT_EQ(read("row.png").substr(1, 3), "PNG");
}

TEST_F(DataCli, Refuses) {
  const std::string command = "data preview " + with_files();
  expect_refused("data preview", {"--dataset"});
  expect_refused("data preview --dataset x", {"--model"});
  expect_refused(command + "--picture row.jpg", {"row.jpg", ".svg"});
  expect_refused(command + "--row 2", {"--row", "found 2"});
  const std::string plain = command.substr(0, command.find("--template"));
  expect_refused(plain + "--template llama", {"template", "chatml"});
  expect_refused(plain + "--template gemma3", {"gemma3", "<start_of_turn>"});
  expect_refused(plain, {"chats.jsonl: line 1", "chat template"});
  expect_refused(command + "--train-on answers", {"train_on", "assistant"});
  expect_refused(command + "--color blue", {"color", "auto"});
  expect_refused(command + "--packing-length 8", {"packing_length"});
  expect_refused(command + "--max-length 4", {"no example is left", "2 left out as too many"});
  write("chats.jsonl", "{\"messages\":[{\"role\":\"tool\",\"content\":\"x\"}]}\n");
  expect_refused(command, {"chats.jsonl: line 1", "'tool'", "on_bad_line"});
}

}  // namespace
}  // namespace heddle
