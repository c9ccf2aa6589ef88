// The shape of the command line: commands, their options and their help. Wraps CLI11, whose headers
// cost 10 s a file, so that only command_line.cpp includes them.
//
// Exit codes: 0 done; 1 heddle::Error (text on stderr); 100 and up: wrong usage, as CLI11 numbers
// it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace heddle::cli {

/// One command and its options. A handle: copies name the same command. The values that options
/// write to must live until the command has run.
class Command {
 public:
  explicit Command(CLI::App* app) : app_(app) {}

  Command add_command(const std::string& name, const std::string& description) const;

  /// Text below the options: examples.
  void footer(const std::string& text) const;

  void flag(const std::string& name, bool& value, const std::string& help) const;
  void option(const std::string& name, int64_t& value, const std::string& help) const;
  void option(const std::string& name, std::optional<int64_t>& value,
              const std::string& help) const;

  void option(const std::string& name, double& value, const std::string& help) const;
  void option(const std::string& name, std::optional<double>& value, const std::string& help) const;

  /// `type` is what the help calls the value: FILE, LIST, …
  void option(const std::string& name, std::string& value, const std::string& help,
              const std::string& type = "TEXT") const;
  void option(const std::string& name, std::optional<std::string>& value, const std::string& help,
              const std::string& type = "TEXT") const;

  /// One that may be given several times.
  void option(const std::string& name, std::vector<std::string>& values, const std::string& help,
              const std::string& type = "TEXT") const;

  /// An argument without a name that must be given; they are taken in the order of these calls.
  void positional(const std::string& name, std::string& value, const std::string& help) const;

  /// What the command does, when it is chosen and none of its own commands is.
  void run(std::function<void()> action) const;

 private:
  CLI::App* app_;
};

/// Defines the commands, parses the arguments and runs the command chosen. Returns the exit code.
int run_command_line(int argc, char** argv, const std::function<void(const Command&)>& define);

/// The same from within a command: what goes wrong is thrown as an Error.
void run_arguments(const std::vector<std::string>& arguments,
                   const std::function<void(const Command&)>& define);

/// Writes a result to stdout; throws an Error when it cannot be written.
void print(const std::string& text);

}  // namespace heddle::cli
