// The command `heddle` with a small random model in a folder of its own.
#pragma once

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>

#include "tests/decode/small_translator.h"

namespace heddle {

class ModelCommand : public ::testing::Test {
 protected:
  struct Outcome {
    int code;
    std::string output;
  };

  /// What comes out on `streams`; standard output when none are named.
  Outcome run(const std::string& arguments, const std::string& input = "",
              const std::string& streams = "") const {
    write("stdin", input);
    const std::string line =
        std::string(HEDDLE_CLI) + " " + arguments + " " + streams + " < " + path("stdin");
    FILE* pipe = ::popen(line.c_str(), "r");
    std::string output;
    char part[4096];
    for (size_t got; (got = std::fread(part, 1, sizeof part, pipe)) > 0;) output.append(part, got);
    const int status = ::pclose(pipe);
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, output};
  }

  /// One line that begins with "heddle: error: " and has every part, and nothing else.
  void expect_refused(const std::string& arguments, std::initializer_list<const char*> parts,
                      const std::string& input = "the cat\n") const {
    const Outcome outcome = run(arguments, input, "2>&1 >/dev/null");
    EXPECT_NE(outcome.code, 0) << arguments;
    EXPECT_EQ(outcome.output.rfind("heddle: error: ", 0), 0u) << outcome.output;
    for (const char* part : parts) {
      EXPECT_NE(outcome.output.find(part), std::string::npos) << part << "\n" << outcome.output;
    }
  }

  std::string path(const std::string& name) const { return model_.file(name); }
  std::string with_model() const { return "--model " + model_.model() + " "; }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(path(name), std::ios::binary) << text;
  }
  std::string read(const std::string& name) const {
    std::ifstream file(path(name), std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  decode::test::ModelFolder model_;
};

inline int64_t lines_in(const std::string& text) {
  return std::count(text.begin(), text.end(), '\n');
}

}  // namespace heddle
