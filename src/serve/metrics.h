// Counters for /metrics, in Prometheus' text format. The sets of labels are bounded: routes and
// reasons come from tables, models from the command line.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/decode/service_types.h"

namespace heddle::serve {

/// What is read at the time of the question.
struct Gauges {
  struct Model {
    std::string name;
    int64_t queue_tokens = 0, live_rows = 0;
  };
  std::vector<Model> models;
  int64_t connections = 0;
  int64_t requests = 0;  ///< begun and not yet answered
};

class Metrics {
 public:
  void request(std::string_view route, int status, double seconds);
  void refusal(std::string_view reason);
  void translated(const std::string& model, const decode::Usage& usage);
  void batch(int rows);
  void load(const std::string& model, bool good);

  std::string text(const Gauges& gauges) const;

 private:
  template <size_t N>
  struct Histogram {
    std::array<uint64_t, N + 1> counts{};
    double sum = 0;
  };
  static constexpr std::array<double, 13> kSeconds{.005, .01, .025, .05, .1, .25, .5,
                                                   1,    2.5, 5,    10,  30, 60};
  static constexpr std::array<double, 8> kRows{1, 2, 4, 8, 16, 32, 64, 128};

  template <size_t N>
  static void add(Histogram<N>& histogram, const std::array<double, N>& bounds, double value);
  template <size_t N>
  static void write(std::string& out, const std::string& name, const std::string& label,
                    const std::array<double, N>& bounds, const Histogram<N>& histogram);

  mutable std::mutex mutex_;
  std::map<std::string, uint64_t> requests_, refusals_, source_tokens_, target_tokens_, loads_;
  std::map<std::string, Histogram<13>> seconds_;
  Histogram<8> batch_rows_;
};

}  // namespace heddle::serve
