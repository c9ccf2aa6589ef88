// `heddle serve`: translation over HTTP.
#include "heddle/serve/server.h"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <optional>

#include "cli/commands.h"
#include "cli/default_model.h"
#include "heddle/base/error.h"

namespace heddle::cli {

namespace {

/// The options as the command line has them.
struct Options {
  std::vector<std::string> models, cors, host_names;
  std::string listen = "127.0.0.1:5000", api_key_file, log_format = "text";
  std::string precision = "native";
  int64_t threads = 0, rows = 64, encode_tokens = 256, max_source_tokens = 256;
  bool shortlist = false, split_sentences = false, quiet = false;
  int64_t max_body = 1 << 20, max_line_characters = 100'000, max_beam = 8;
  int64_t queue_tokens = 65'536, connections = 2'000, deadline_ms = 60'000;
  double header_seconds = 10, body_seconds = 30, idle_seconds = 60, write_seconds = 30;
  int64_t drain_seconds = 30;
};

std::vector<std::string> keys_of(const std::string& path) {
  std::vector<std::string> keys;
  if (path.empty()) return keys;
  std::ifstream file(path, std::ios::binary);
  HEDDLE_CHECK(file.good(), "serve: cannot read ", path, "; expected a file of API keys");
  for (std::string line; std::getline(file, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty()) keys.push_back(line);
  }
  HEDDLE_CHECK(!keys.empty(), "serve: ", path, " has no key; expected one a line");
  return keys;
}

void set_address(const std::string& listen, serve::ServerSettings& settings) {
  const size_t colon = listen.rfind(':');
  const std::string port = colon == listen.npos ? "" : listen.substr(colon + 1);
  const bool digits = !port.empty() && port.size() <= 5 &&
                      port.find_first_not_of("0123456789") == port.npos && std::stoi(port) <= 65535;
  HEDDLE_CHECK(digits && colon > 0, "--listen: found '", listen,
               "'; expected ADDRESS:PORT, as 127.0.0.1:5000");
  settings.host = listen.substr(0, colon);
  if (settings.host.starts_with('[') && settings.host.ends_with(']')) {
    settings.host = settings.host.substr(1, settings.host.size() - 2);
  }
  settings.port = static_cast<uint16_t>(std::stoi(port));
}

void set_limits(const Options& options, serve::Limits& limits) {
  const auto positive = [](const char* name, int64_t value, int64_t most) {
    HEDDLE_CHECK(value >= 1 && value <= most, name, ": found ", value, "; expected 1 … ", most);
    return value;
  };
  limits.body = static_cast<size_t>(positive("--max-body", options.max_body, 64 << 20));
  limits.bodies = std::max(limits.bodies, 4 * limits.body);
  limits.line_characters =
      static_cast<size_t>(positive("--max-line-characters", options.max_line_characters, 4 << 20));
  limits.beam = positive("--max-beam", options.max_beam, decode::kMaxBeam);
  limits.queue_tokens = positive("--queue-tokens", options.queue_tokens, int64_t{1} << 30);
  limits.connections = positive("--connections", options.connections, 100'000);
  limits.deadline_ms = positive("--deadline-ms", options.deadline_ms, 86'400'000);
  const auto seconds = [](const char* name, double value) {
    HEDDLE_CHECK(value > 0 && value <= 86'400, name, ": found ", value, "; expected above 0");
    return value;
  };
  limits.header_seconds = seconds("--header-seconds", options.header_seconds);
  limits.body_seconds = seconds("--body-seconds", options.body_seconds);
  limits.idle_seconds = seconds("--idle-seconds", options.idle_seconds);
  limits.write_seconds = seconds("--write-seconds", options.write_seconds);
}

serve::ServerSettings settings_of(const Options& options) {
  serve::ServerSettings settings;
  for (const std::string& model : options.models) {
    const size_t equals = model.find('=');
    HEDDLE_CHECK(equals != model.npos && equals > 0 && equals + 1 < model.size(),
                 "--model: found '", model, "'; expected NAME=DIR, as en-pt=models/en-pt");
    settings.models.push_back({model.substr(0, equals), model.substr(equals + 1)});
  }
  if (settings.models.empty()) settings.models.push_back({kDefaultDirection, default_model()});
  settings.translator.threads = static_cast<int>(options.threads);
  settings.translator.precision = ops::precision_named(options.precision, "--precision");
  settings.translator.rows = static_cast<int>(options.rows);
  settings.translator.encode_tokens = options.encode_tokens;
  settings.translator.max_source_tokens = options.max_source_tokens;
  settings.translator.shortlist = options.shortlist;
  settings.translator.split_sentences = options.split_sentences;
  set_address(options.listen, settings);
  set_limits(options, settings.limits);
  settings.api_keys = keys_of(options.api_key_file);
  settings.cors = options.cors;
  settings.host_names = options.host_names;
  HEDDLE_CHECK(options.log_format == "text" || options.log_format == "json",
               "--log-format: found '", options.log_format, "'; expected text or json");
  settings.json_log = options.log_format == "json";
  if (!options.quiet) {
    settings.log = [](std::string_view line) {
      std::string whole(line);
      whole += '\n';
      std::fwrite(whole.data(), 1, whole.size(), stderr);
    };
  }
  return settings;
}

/// A connection takes a file descriptor; the usual 1,024 of a process are too few.
void allow_descriptors() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void run(const Options& options) {
  using Clock = std::chrono::steady_clock;
  // Blocked in all threads and waited for in this one.
  sigset_t signals;
  ::sigemptyset(&signals);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&signals, number);
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  allow_descriptors();
  serve::Server server(settings_of(options));
  std::fprintf(stderr, "listening on %s\n", server.url().c_str());

  std::optional<Clock::time_point> end;
  for (;;) {
    const timespec tick{0, 20'000'000};
    const int number = ::sigtimedwait(&signals, nullptr, &tick);
    if (number == SIGHUP) server.reload();
    if (number == SIGTERM || number == SIGINT) {
      if (end) ::_exit(1);  // the second one
      server.drain();
      end = Clock::now() + std::chrono::seconds(options.drain_seconds);
    }
    if (end && (server.drained() || Clock::now() > *end)) return;
  }
}

void add_limit_options(const Command& command, Options& o) {
  command.option("--queue-tokens", o.queue_tokens, "source tokens that may wait, of one model");
  command.option("--deadline-ms", o.deadline_ms, "longest, and that of requests without one");
  command.option("--connections", o.connections, "open at once");
  command.option("--max-body", o.max_body, "bytes of a request");
  command.option("--max-line-characters", o.max_line_characters, "of a line of text");
  command.option("--max-beam", o.max_beam, "largest beam of a request");
  command.option("--header-seconds", o.header_seconds, "for the headers of a request");
  command.option("--body-seconds", o.body_seconds, "for its body");
  command.option("--write-seconds", o.write_seconds, "for a client to take its reply");
  command.option("--idle-seconds", o.idle_seconds, "between requests of a connection");
  command.option("--drain-seconds", o.drain_seconds, "for what is running when told to stop");
}

}  // namespace

void add_serve_command(const Command& parent) {
  const Command command = parent.add_command("serve", "Translates over HTTP");
  static Options o;
  command.option("--model", o.models,
                 "a model and its name; may be given again; none: the one that is shipped, en-de",
                 "NAME=DIR");
  command.option("--listen", o.listen, "port 0: any that is free", "ADDRESS:PORT");
  command.option("--threads", o.threads, "workers of each model; 0: one a processor");
  command.option("--precision", o.precision, "native, f32, bf16, int8, or f16 on a GPU", "KIND");
  command.option("--rows", o.rows, "sentences a thread decodes at once");
  command.option("--encode-tokens", o.encode_tokens, "most tokens encoded at once; others wait");
  command.option("--max-source-tokens", o.max_source_tokens, "longer sentences are cut");
  command.flag("--shortlist", o.shortlist, "choose among the likely tokens, by the model's list");
  command.flag("--split-sentences", o.split_sentences, "translate each sentence of a line alone");
  command.option("--api-key-file", o.api_key_file, "keys that clients need, one a line", "FILE");
  command.option("--cors", o.cors, "an origin whose pages may ask; *: all", "ORIGIN");
  command.option("--host-name", o.host_names, "a name of this server beside localhost", "NAME");
  add_limit_options(command, o);
  command.option("--log-format", o.log_format, "text or json, one line a request on stderr",
                 "KIND");
  command.flag("--quiet", o.quiet, "no log");
  command.footer(
      "Serves a page at /, POST /v1/translate, LibreTranslate's POST /translate, /metrics and "
      "more:\n"
      "/openapi.json describes it. SIGHUP loads the models anew, as a changed file does; SIGTERM\n"
      "finishes what is running and leaves.\n\n"
      "Examples:\n"
      "  heddle serve\n"
      "  heddle serve --model en-pt=models/en-pt --model pt-en=models/pt-en\n"
      "  curl -d '{\"text\": \"The disk is full.\"}' -H 'Content-Type: application/json' \\\n"
      "    http://127.0.0.1:5000/v1/translate\n"
      "  heddle serve --model en-pt=DIR --listen 0.0.0.0:8080 --api-key-file keys.txt \\\n"
      "    --host-name translate.example.org");
  command.run([] { run(o); });
}

}  // namespace heddle::cli
