// The command `heddle` at work that takes a while and may be cut off, on a toy language.
#pragma once

#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

#include "heddle/base/random.h"
#include "tests/cli/model_command.h"

namespace heddle {

class LongCommand : public ModelCommand {
 protected:
  /// Pairs of a language of words that is said backwards, a TSV.
  static std::string language(int lines, uint64_t seed) {
    Random random(seed);
    std::string text;
    for (int i = 0; i < lines; ++i) {
      std::string there, back;
      for (int64_t n = random.between(1, 5); n > 0; --n) {
        const std::string word{static_cast<char>('a' + random.below(6)), 'o'};
        there += (there.empty() ? "" : " ") + word;
        back = word + (back.empty() ? "" : " ") + back;
      }
      text += there + "\t" + back + "\n";
    }
    return text;
  }

  /// Runs a command and sends it a signal once `ready` says so; its exit code, −1 for a signal.
  template <typename Ready>
  int interrupted(const std::string& arguments, int signal, const Ready& ready) const {
    const pid_t child = ::fork();
    if (child == 0) {
      const std::string command =
          "exec " + std::string(HEDDLE_CLI) + " " + arguments + " 2>/dev/null";
      ::execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
      ::_exit(127);
    }
    int status = 0;
    while (!ready()) {
      if (::waitpid(child, &status, WNOHANG) == child) return -2;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    ::kill(child, signal);
    ::waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
};

}  // namespace heddle
