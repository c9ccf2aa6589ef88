// `heddle translate`, `evaluate`, `convert`, `quantize` and `inspect` with a small model: what
// lines become, whatever bytes they have, and a run that was killed.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/cli/model_command.h"

namespace heddle {
namespace {

class ModelCli : public ModelCommand {
 protected:
  std::string translate(const std::string& input, const std::string& options = "") const {
    const Outcome outcome = run("translate --quiet " + with_model() + options, input);
    EXPECT_EQ(outcome.code, 0);
    return outcome.output;
  }

  /// The translation of one line alone.
  std::string line(const std::string& text) const { return translate(text + "\n"); }

  std::string summary(const std::string& input, const std::string& options = "") const {
    return run("translate " + with_model() + options, input, "2>&1 >/dev/null").output;
  }
};

TEST_F(ModelCli, EndsOfLinesAndInputs) {
  const std::string cat = line("the cat"), mat = line("the cat sat on the mat");
  EXPECT_NE(cat, mat);
  EXPECT_EQ(translate(""), "");
  EXPECT_EQ(translate("the cat\nthe cat sat on the mat"), cat + mat);
  EXPECT_EQ(translate("the cat\r\nthe cat sat on the mat\r\n"), cat + mat);
  EXPECT_EQ(translate("\xEF\xBB\xBFthe cat\n"), cat);
  EXPECT_EQ(translate("\n\r\n  \nthe cat"), "\n\n  \n" + cat);
}

TEST_F(ModelCli, BytesThatAreNotText) {
  const std::string mat = line("the cat sat on the mat");
  for (const std::string bad :
       {"x\xff\xfe", "the \xc3", "\xed\xa0\x80", "a\x01z", "\xf4\x90\x80\x80"}) {
    const std::string out = translate(bad + "\n" + "the cat sat on the mat\n");
    EXPECT_EQ(lines_in(out), 2) << bad;
    EXPECT_TRUE(out.ends_with(mat)) << out;
  }
  EXPECT_EQ(lines_in(translate(std::string("a\0b\nthe cat\n", 12))), 2);
  expect_refused("translate " + with_model(), {"UTF-16", "expected UTF-8", "iconv"},
                 std::string("\xff\xfe"
                             "a\0b\0",
                             6));
}

TEST_F(ModelCli, LinesAboveTheLimitAreEmptyAndCounted) {
  const std::string mat = line("the cat sat on the mat"), longest(5000, 'x');
  EXPECT_EQ(translate(longest + "\nthe cat sat on the mat\n" + longest, "--max-line-bytes 1000"),
            "\n" + mat + "\n");
  const std::string text = summary(longest + "\nthe cat sat on the mat\n", "--max-line-bytes 1000");
  EXPECT_NE(text.find("2 lines"), std::string::npos) << text;
  EXPECT_NE(text.find("above --max-line-bytes: 1"), std::string::npos) << text;
}

TEST_F(ModelCli, FilesInAndOut) {
  write("in", "the cat\nthe cat sat on the mat");
  const std::string files = "--in " + path("in") + " --out " + path("out");
  EXPECT_EQ(translate("", files), "");
  EXPECT_EQ(read("out"), line("the cat") + line("the cat sat on the mat"));
  EXPECT_FALSE(std::filesystem::exists(path("out.progress")));
  write("in", "");
  translate("", files);
  EXPECT_EQ(read("out"), "");
  expect_refused("translate " + with_model() + "--in " + path("in") + " --out " + path("no/out"),
                 {"cannot write", "no/out"});
}

TEST_F(ModelCli, WrongFlags) {
  const std::string translate = "translate " + with_model();
  expect_refused(translate + "--bem 4", {"--bem"});
  expect_refused(translate + "--beam four", {"four"});
  expect_refused(translate + "--beam 65", {"beam", "65", "expected 1"});
  expect_refused(translate + "--threads -2", {"-2", "expected"});
  expect_refused(translate + "--beam 2 --sample", {"beam", "expected"});
  expect_refused(translate + "--rows 4", {"refill_rows", "16", "expected 1"});
  expect_refused("translate --model", {"--model"});
  expect_refused("translate --model " + path("pieces.spm"), {"pieces.spm", "expected"});
  expect_refused("convert " + model_.model() + " " + path("x") + " --format onnx",
                 {"onnx", "expected heddle, ctranslate2 or marian"});
  expect_refused("quantize " + model_.model() + " " + path("x") + " --type int4",
                 {"int4", "expected int8, bf16 or f16"});
  expect_refused("quantize " + model_.model() + " " + path("x"), {"--type"});
  expect_refused("convert " + path("nothing") + " " + path("x"), {"nothing", "expected"});
  EXPECT_FALSE(std::filesystem::exists(path("x")));
}

TEST_F(ModelCli, ConvertKeepsTheTranslations) {
  const std::string lines = "the cat sat on the mat\nHello world!\n", before = translate(lines);
  const auto translated_by = [&](const std::string& model) {
    return run("translate --quiet --model " + path(model), lines).output;
  };
  const decode::test::ModelFolder attentive(model::DecoderKind::self_attention);
  const std::string other = run("translate --quiet --model " + attentive.model(), lines).output;
  EXPECT_NE(other, before);
  ASSERT_EQ(run("convert " + model_.model() + " " + path("ours")).code, 0);
  EXPECT_EQ(translated_by("ours"), before);
  // The small model's end is token 2, and its decoder has cells: neither is for the others.
  expect_refused("convert " + model_.model() + " " + path("marian") + " --format marian",
                 {"end and unknown token"});
  expect_refused("convert " + model_.model() + " " + path("ct2") + " --format ctranslate2",
                 {"SSRU"});
  const Outcome converted =
      run("convert " + attentive.model() + " " + path("ct2") + " --format ctranslate2");
  ASSERT_EQ(converted.code, 0);
  EXPECT_NE(converted.output.find("ctranslate2"), std::string::npos) << converted.output;
  EXPECT_EQ(translated_by("ct2"), other);
  ASSERT_EQ(run("convert " + path("ct2") + " " + path("back")).code, 0);
  EXPECT_EQ(translated_by("back"), other);
}

TEST_F(ModelCli, QuantizeAndInspect) {
  for (const std::string type : {"int8", "bf16", "f16"}) {
    const Outcome made = run("quantize " + model_.model() + " " + path(type) + " --type " + type);
    ASSERT_EQ(made.code, 0) << made.output;
    const Outcome shown = run("inspect " + path(type) + " --check-tensors");
    EXPECT_EQ(shown.code, 0);
    EXPECT_NE(shown.output.find(type), std::string::npos) << shown.output;
    const std::string with = "translate --quiet --model " + path(type);
    EXPECT_EQ(lines_in(run(with, "the cat\nthe cat sat on the mat\n").output), 2);
    EXPECT_LT(std::filesystem::file_size(path(type) + "/model.safetensors"),
              std::filesystem::file_size(model_.model() + "/model.safetensors"));
  }
}

TEST_F(ModelCli, EvaluateWithModel) {
  const std::string sources = "the cat sat on the mat\na mat is on the cat\n";
  write("sources", sources);
  write("references", translate(sources));
  const std::string files = " --sources " + path("sources") + " --references " + path("references");
  const Outcome same = run("evaluate " + with_model() + files + " --save " + path("saved"));
  EXPECT_EQ(same.code, 0);
  EXPECT_NE(same.output.find("= 100.0"), std::string::npos) << same.output;
  EXPECT_EQ(read("saved"), read("references"));
  const Outcome beam = run("evaluate " + with_model() + files + " --beam 4 --json");
  EXPECT_NE(beam.output.find("\"signature\""), std::string::npos) << beam.output;
  write("references", "one line\n");
  expect_refused("evaluate " + with_model() + files, {"2", "1", "expected"});
  write("references", "");
  write("sources", "");
  expect_refused("evaluate " + with_model() + files, {"expected"});
}

/// Runs the command and kills it as soon as `ready` says so; false when it was done before.
template <typename Ready>
bool kill_when(const std::string& arguments, const Ready& ready) {
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string command = "exec " + std::string(HEDDLE_CLI) + " " + arguments;
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  int status = 0;
  while (!ready()) {
    if (::waitpid(child, &status, WNOHANG) == child) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status);
}

TEST_F(ModelCli, AKilledRunGoesOnWhereItWas) {
  std::string some, input;
  for (const std::string& text : decode::test::lines_to_translate(200)) {
    if (text.size() < 300) some += text + "\n";
  }
  const std::string some_out = translate(some);
  std::string whole;
  const int64_t copies = 40'000 / lines_in(some);
  for (int64_t i = 0; i < copies; ++i) {
    input += some;
    whole += some_out;
  }
  write("in", input);
  const std::string task = "translate --quiet --threads 1 " + with_model() + "--in " + path("in") +
                           " --out " + path("out");
  const auto exists = [&](const char* name) { return std::filesystem::exists(path(name)); };
  // Once before anything is certain, once after.
  kill_when(task, [&] { return exists("out"); });
  const bool killed = kill_when(task, [&] { return exists("out.progress"); });
  if (!killed) GTEST_SKIP() << "it was done before it could be killed";
  EXPECT_TRUE(exists("out.progress"));
  EXPECT_LT(read("out").size(), whole.size());
  EXPECT_EQ(run(task).code, 0);
  EXPECT_EQ(read("out"), whole);
  EXPECT_FALSE(exists("out.progress"));
}

}  // namespace
}  // namespace heddle
