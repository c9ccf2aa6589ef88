// The GPU side of `heddle bench attention`.
#pragma once

#include <string>

#include "cli/bench_report.h"
#include "heddle/mask/mask.h"

namespace heddle::cli {

struct GpuBench {
  int64_t repeats;             ///< windows of launches whose median counts
  std::string implementation;  ///< forces a row of the table; empty: the first that applies
  bool deterministic;
};

/// Fills in what a case of bf16 tensors takes on the first GPU. Launches run back to back between
/// two events; mask and plans are there before.
BenchResult measure_on_gpu(const ColumnMask& mask, BenchResult result, const GpuBench& options);

}  // namespace heddle::cli
