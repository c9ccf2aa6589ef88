// Tokens a second of the decoder loop when the length of every translation is given, so that models
// of random weights can be timed as if they had been trained:
//
//   bench_lengths MODEL REQUESTS [threads] [rows] [encode_tokens]
//
// A line of REQUESTS is "target tokens, source tokens…", numbers separated by spaces. No text is
// read or made. Prints one line of JSON.
#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>
#include <thread>

#include "heddle/base/error.h"
#include "heddle/base/timer.h"
#include "heddle/decode/model_engine.h"
#include "heddle/decode/scheduler.h"
#include "heddle/model/formats/formats.h"

namespace heddle::decode {
namespace {

struct Work {
  std::vector<int32_t> source;  ///< the end token last
  int64_t length;               ///< target tokens, the end included
};

std::vector<Work> read_requests(const std::string& path, int32_t end) {
  std::ifstream file(path);
  HEDDLE_CHECK(file.good(), "bench: ", path, " cannot be read");
  std::vector<Work> all;
  for (std::string line; std::getline(file, line);) {
    std::istringstream numbers(line);
    Work work{};
    numbers >> work.length;
    for (int32_t token = 0; numbers >> token;) work.source.push_back(token);
    work.source.push_back(end);
    all.push_back(std::move(work));
  }
  return all;
}

/// What one thread translates, the longest first; returns the target tokens written.
int64_t translate(const model::Transformer& model, const std::vector<Work>& all, size_t first,
                  size_t step, int rows, int64_t encode_tokens) {
  ModelEngine engine(
      model, {.rows = rows, .source_tokens = 64L * rows + 1024, .target_tokens = 256L * rows});
  Scheduler scheduler(engine,
                      {.admission = {.encode_tokens = encode_tokens, .refill_rows = rows / 4}});
  std::vector<Result> results;
  int64_t tokens = 0;
  size_t next = first;
  do {
    for (; next < all.size() && scheduler.waiting() < static_cast<size_t>(rows); next += step) {
      auto options = std::make_shared<Options>();
      options->min_length = options->max_length = all[next].length;
      scheduler.submit({.id = next, .source = all[next].source, .prefix = {}, .options = options});
    }
    scheduler.step(results);
    for (const Result& result : results) {
      const Hypothesis& best = result.hypotheses.front();
      tokens += std::ssize(best.tokens) + (best.ended ? 1 : 0);
    }
    results.clear();
  } while (next < all.size() || !scheduler.idle());
  return tokens;
}

int main(const std::vector<std::string>& arguments) {
  HEDDLE_CHECK(arguments.size() >= 2,
               "usage: bench_lengths MODEL REQUESTS [threads] [rows] [encode_tokens]");
  const int threads = arguments.size() > 2 ? std::stoi(arguments[2]) : 1;
  const int rows = arguments.size() > 3 ? std::stoi(arguments[3]) : 64;
  const int64_t encode_tokens = arguments.size() > 4 ? std::stoi(arguments[4]) : 1024;
  const model::Transformer model(model::load_model(arguments[0]));
  std::vector<Work> all = read_requests(arguments[1], model.config().eos);
  std::stable_sort(all.begin(), all.end(),
                   [](const Work& a, const Work& b) { return a.source.size() > b.source.size(); });
  const Timer timer;
  std::vector<int64_t> tokens(static_cast<size_t>(threads));
  std::vector<std::thread> workers;
  for (size_t i = 0; i < tokens.size(); ++i) {
    workers.emplace_back(
        [&, i] { tokens[i] = translate(model, all, i, tokens.size(), rows, encode_tokens); });
  }
  for (std::thread& worker : workers) worker.join();
  const double seconds = timer.seconds();
  int64_t written = 0;
  for (const int64_t each : tokens) written += each;
  std::printf(
      "{\"lines\": %zu, \"tokens\": %lld, \"seconds\": %.3f, \"tokens_per_second\": %.1f}\n",
      all.size(), static_cast<long long>(written), seconds, static_cast<double>(written) / seconds);
  return 0;
}

}  // namespace
}  // namespace heddle::decode

int main(int count, char** values) {
  try {
    return heddle::decode::main({values + 1, values + count});
  } catch (const std::exception& error) {
    std::cerr << "bench_lengths: " << error.what() << '\n';
    return 1;
  }
}
