// `heddle translate`, run as its users run it, with a small random model.
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/cli/model_command.h"

namespace heddle {
namespace {

class TranslateCli : public ModelCommand {
 protected:
  Outcome run(const std::string& arguments, const std::string& input = "",
              const std::string& streams = "") const {
    return ModelCommand::run("translate " + arguments, input, streams);
  }

  void expect_refused(const std::string& arguments, const char* part) const {
    ModelCommand::expect_refused("translate " + arguments, {part});
  }
};

TEST_F(TranslateCli, OneLineForEachLine) {
  std::string input;
  for (const std::string& line : decode::test::lines_to_translate(60)) input += line + "\n";
  const Outcome outcome = run(with_model() + "--quiet", input);
  EXPECT_EQ(outcome.code, 0);
  EXPECT_EQ(lines_in(outcome.output), 60);
  EXPECT_EQ(run(with_model() + "--quiet", "").output, "");
  EXPECT_EQ(lines_in(run(with_model() + "--quiet", "no end").output), 1);
}

TEST_F(TranslateCli, AProgramAloneSaysThatItHasNoModel) {
  std::filesystem::copy_file(HEDDLE_CLI, path("program"));
  const std::string command = path("program") + " translate 2>&1 </dev/null";
  FILE* pipe = ::popen(command.c_str(), "r");
  char text[1000] = {};
  std::fread(text, 1, sizeof text - 1, pipe);
  EXPECT_NE(::pclose(pipe), 0);
  EXPECT_NE(std::string(text).find("--model: found none, and docs-en-de is not"), std::string::npos)
      << text;
}

// The model that is shipped, its sample and the score that its card gives.
TEST_F(TranslateCli, WithoutAModelTheShippedOne) {
  const std::string sample = HEDDLE_TEST_DATA "/../../models/docs-en-de/sample";
  const Outcome outcome = run(
      "--in " + sample + ".en --out " + model_.file("out.de") + " --references " + sample + ".de",
      "", "2>&1");
  EXPECT_EQ(outcome.code, 0) << outcome.output;
  const size_t bleu = outcome.output.find("2.6.0 = ");
  ASSERT_NE(bleu, std::string::npos) << outcome.output;
  EXPECT_GT(std::stod(outcome.output.substr(bleu + 8)), 50) << outcome.output;
  EXPECT_EQ(lines_in(read("out.de")), 100);
}

TEST_F(TranslateCli, ColumnsSummaryAndJson) {
  const std::string json = model_.file("summary.json");
  const Outcome outcome =
      run(with_model() + "--beam 3 --n-best 2 --scores --alignments hard --json " + json,
          "the cat\n\n", "2>/dev/null");
  EXPECT_EQ(lines_in(outcome.output), 3);  // two variants and an empty line
  EXPECT_EQ(std::count(outcome.output.begin(), outcome.output.end(), '\t'), 3 * 4);
  EXPECT_NE(read("summary.json").find("\"lines\": 2"), std::string::npos);
  const Outcome summary = run(with_model() + "--profile", "the cat\n", "2>&1 >/dev/null");
  EXPECT_NE(summary.output.find("1 line, 2 source words"), std::string::npos) << summary.output;
  EXPECT_NE(summary.output.find("encoder"), std::string::npos) << summary.output;
}

TEST_F(TranslateCli, QualityAgainstReferences) {
  const std::string out = run(with_model() + "--quiet", "the cat sat on the mat\na mat\n").output;
  write("references", out);
  const Outcome same = run(with_model() + "--references " + model_.file("references"),
                           "the cat sat on the mat\na mat\n", "2>&1 >/dev/null");
  EXPECT_NE(same.output.find("BLEU"), std::string::npos) << same.output;
  EXPECT_NE(same.output.find("= 100.0"), std::string::npos) << same.output;
  write("references", "one line\n");
  expect_refused(with_model() + "--in " + model_.file("references") + " --references " +
                     model_.file("nothing"),
                 "nothing");
}

TEST_F(TranslateCli, RefusesWithAReason) {
  expect_refused("--model " + model_.file("nothing"), "nothing");
  expect_refused(with_model() + "--precision int7", "int7");
  expect_refused(with_model() + "--alignments some", "some");
  expect_refused(with_model() + "--out x", "--in");
  expect_refused(with_model() + "--in " + model_.file("nothing"), "nothing");
  expect_refused(with_model() + "--in .", "directory");
  expect_refused(with_model() + "--beam 0", "beam");
  expect_refused(with_model() + "--temperature warm", "warm");
  expect_refused(with_model() + "--n-best 3", "n_best");
  expect_refused(with_model() + "--shortlist", "shortlist");
  write("utf16", std::string("\xff\xfe"
                             "a\0",
                             4));
  expect_refused(with_model() + "--in " + model_.file("utf16"), "UTF-16");
}

TEST_F(TranslateCli, AnInterruptedRunGoesOn) {
  std::string input;
  for (int i = 0; i < 600; ++i) {
    for (const std::string& line : decode::test::lines_to_translate(40)) {
      if (line.size() < 300) input += line + "\n";
    }
  }
  write("in", input);
  const std::string in = model_.file("in"), out = model_.file("out");
  const std::string task = with_model() + "--quiet --threads 1 --in " + in + " --out " + out;
  const std::string whole = run(with_model() + "--quiet", input).output;
  ASSERT_EQ(lines_in(whole), lines_in(input));

  const pid_t child = ::fork();
  if (child == 0) {
    const std::string command = "exec " + std::string(HEDDLE_CLI) + " translate " + task;
    ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    ::_exit(127);
  }
  std::error_code error;
  for (int wait = 0; wait < 6000 && (!std::filesystem::exists(out, error) ||
                                     std::filesystem::file_size(out, error) == 0);
       ++wait) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ::kill(child, SIGINT);
  int status = 0;
  ::waitpid(child, &status, 0);
  ASSERT_TRUE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 0) GTEST_SKIP() << "it was done before it could be interrupted";
  EXPECT_EQ(WEXITSTATUS(status), 130);
  const std::string part = read("out");
  EXPECT_TRUE(whole.starts_with(part));
  EXPECT_LT(part.size(), whole.size());
  EXPECT_TRUE(std::filesystem::exists(out + ".progress"));

  // What was written after the last checkpoint is of no account.
  std::ofstream(out, std::ios::app) << "half a li";
  expect_refused(with_model() + "--quiet --beam 2 --in " + in + " --out " + out, "--restart");
  EXPECT_EQ(run(task).code, 0);
  EXPECT_EQ(read("out"), whole);
  EXPECT_FALSE(std::filesystem::exists(out + ".progress"));
}

}  // namespace
}  // namespace heddle
