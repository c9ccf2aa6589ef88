// What `heddle bench attention` found, as a table, as JSON and as a plot.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace heddle::cli {

/// Medians in seconds of one pass.
struct PassTimes {
  std::string implementation{};  ///< the row of the table
  double skipping = 0;
  std::optional<double> dense{};  ///< the same with skipping off
};

/// One mask, length and head shape.
struct BenchResult {
  std::string mask;
  int64_t length, heads, kv_heads, head_dim;
  double density;
  double visible_pairs;  ///< over all query heads
  double tile_elements;  ///< live tiles × elements of a tile, over all query heads
  PassTimes forward, backward;
  std::optional<double> sgemm_rate{};  ///< FLOP/s, measured beside this case
  std::optional<double> read_rate{};   ///< bytes/s of memory; measured where rows are few
  double key_value_bytes = 0;          ///< K and V of the live tiles, which a forward must read
  int64_t peak_bytes = 0;              ///< beyond inputs and outputs, all threads; 0: not known
};

/// FLOPs of the two passes for each element (a pair of query and key).
inline double forward_flops(const BenchResult& r) { return 4.0 * static_cast<double>(r.head_dim); }
inline double backward_flops(const BenchResult& r) {
  return 10.0 * static_cast<double>(r.head_dim);
}

std::string bench_table(const std::vector<BenchResult>& results);
std::string bench_json(const std::vector<BenchResult>& results, int threads);

/// Time against density, both on logarithmic axes.
std::string bench_plot(const std::vector<BenchResult>& results);

}  // namespace heddle::cli
