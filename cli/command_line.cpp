#include "cli/command_line.h"

#include <CLI/App.hpp>
#include <CLI/Config.hpp>
#include <CLI/Formatter.hpp>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <exception>
#include <new>
#include <system_error>
#include <utility>

#include "heddle/base/error.h"

namespace heddle::cli {

namespace {

int report(const std::string& message) {
  std::fprintf(stderr, "heddle: error: %s\n", message.c_str());
  return 1;
}

/// CLI11 would take 99999999999999999999 as the largest number there is.
int64_t number(const std::string& option, const std::string& text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || rest != end) {
    throw CLI::ConversionError(
        str(option, ": found '", text.substr(0, 40), "'; expected a whole number below 2^63"));
  }
  return value;
}

double real_number(const std::string& option, const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || rest != end || !std::isfinite(value)) {
    throw CLI::ConversionError(
        str(option, ": found '", text.substr(0, 40), "'; expected a number"));
  }
  return value;
}

}  // namespace

Command Command::add_command(const std::string& name, const std::string& description) const {
  return Command(app_->add_subcommand(name, description));
}

void Command::footer(const std::string& text) const { app_->footer(text); }

void Command::flag(const std::string& name, bool& value, const std::string& help) const {
  app_->add_flag(name, value, help);
}

void Command::option(const std::string& name, int64_t& value, const std::string& help) const {
  app_->add_option_function<std::string>(
          name, [name, &value](const std::string& text) { value = number(name, text); }, help)
      ->default_str(str(value))
      ->type_name("N");
}

void Command::option(const std::string& name, std::optional<int64_t>& value,
                     const std::string& help) const {
  app_->add_option_function<std::string>(
          name, [name, &value](const std::string& text) { value = number(name, text); }, help)
      ->type_name("N");
}

void Command::option(const std::string& name, double& value, const std::string& help) const {
  app_->add_option_function<std::string>(
          name, [name, &value](const std::string& text) { value = real_number(name, text); }, help)
      ->default_str(str(value))
      ->type_name("X");
}

void Command::option(const std::string& name, std::optional<double>& value,
                     const std::string& help) const {
  app_->add_option_function<std::string>(
          name, [name, &value](const std::string& text) { value = real_number(name, text); }, help)
      ->type_name("X");
}

void Command::option(const std::string& name, std::string& value, const std::string& help,
                     const std::string& type) const {
  app_->add_option(name, value, help)->capture_default_str()->type_name(type);
}

void Command::option(const std::string& name, std::optional<std::string>& value,
                     const std::string& help, const std::string& type) const {
  app_->add_option_function<std::string>(
          name, [&value](const std::string& given) { value = given; }, help)
      ->type_name(type);
}

void Command::option(const std::string& name, std::vector<std::string>& values,
                     const std::string& help, const std::string& type) const {
  app_->add_option_function<std::string>(
          name, [&values](const std::string& given) { values.push_back(given); }, help)
      ->trigger_on_parse()
      ->type_name(type);
}

void Command::positional(const std::string& name, std::string& value,
                         const std::string& help) const {
  app_->add_option(name, value, help)->required()->type_name("PATH");
}

void Command::run(std::function<void()> action) const {
  app_->callback([app = app_, action = std::move(action)] {
    if (app->get_subcommands().empty()) action();
  });
}

int run_command_line(int argc, char** argv, const std::function<void(const Command&)>& define) {
  CLI::App app("Transformer engine built on column-wise sparse attention masks", "heddle");
  app.set_version_flag("--version", "heddle " HEDDLE_VERSION);
  app.get_formatter()->column_width(30);
  app.failure_message([](const CLI::App*, const CLI::Error& error) {
    return std::string("heddle: error: ") + error.what() +
           "\nRun the command with --help for its options.\n";
  });
  try {
    define(Command(&app));
    app.parse(argc, argv);
    if (app.get_subcommands().empty()) throw CLI::RequiredError("A subcommand");
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const Error& error) {
    return report(error.what());
  } catch (const std::bad_alloc&) {
    return report("out of memory");
  } catch (const std::exception& error) {
    return report(error.what());
  }
  return 0;
}

void run_arguments(const std::vector<std::string>& arguments,
                   const std::function<void(const Command&)>& define) {
  CLI::App app("", "heddle");
  define(Command(&app));
  try {
    app.parse(
        std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // taken from the end
  } catch (const CLI::ParseError& error) {
    detail::throw_error(error.what());
  }
}

void print(const std::string& text) {
  const bool written =
      std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
  HEDDLE_CHECK(written,
               "cannot write to standard output: ", std::generic_category().message(errno));
}

}  // namespace heddle::cli
