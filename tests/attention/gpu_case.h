// One attention problem on the GPU: made from a description, run through a row of the table, and
// compared with the reference by FlashAttention's rule
//   max |ours − exact| <= 2 · max |plain 16-bit − exact| + 2 · rounding.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "heddle/attention/attention.h"
#include "heddle/mask/device_mask.h"
#include "tests/attention/gpu_reference.h"

namespace heddle::test {

struct CaseShape {
  int64_t heads = 2, kv_heads = 2, head_dim = 64;
  DType dtype = DType::bf16;
  double softcap = 0;
  bool sinks = false, slopes = false, deterministic = false;
  double scale = 0;   // 0: the default
  int64_t spare = 0;  // rows of NaN behind the last row of every tensor
  uint64_t seed = 1;
};

/// Results on the host.
struct CaseResults {
  std::vector<double> out, lse, d_q, d_k, d_v, d_sinks;
};

class GpuCase {
 public:
  GpuCase(const ColumnMask& mask, const CaseShape& shape, cuda::Context& context);

  const ColumnMask& mask() const { return mask_; }
  const CaseShape& shape() const { return shape_; }
  DeviceMask& device_mask() { return device_mask_; }

  /// Sets rows of q and d_out, or of k and v, to one number.
  void fill_rows(const std::vector<int64_t>& rows, float number);
  void fill_keys(const std::vector<int64_t>& keys, float number);

  /// Runs forward and backward by a row of the table, or by the first that applies; every result
  /// starts as NaN.
  CaseResults run(const std::string& row = {});

  /// Forward and backward of the GPU reference.
  CaseResults reference(bool rounding);

  /// Elements past the last row that were written to, in all results of the last run.
  int64_t overwritten();

  std::string text() const;

 private:
  Tensor random(int64_t rows, int64_t heads);
  Tensor blank(int64_t rows, int64_t heads);
  void fill(Tensor& tensor, int64_t row, float number);

  ColumnMask mask_;
  CaseShape shape_;
  cuda::Context& context_;
  DeviceMask device_mask_;
  uint64_t state_;
  Tensor q_, k_, v_, d_out_, sinks_, slopes_;     // on the host, dense
  Tensor out_, lse_, d_q_, d_k_, d_v_, d_sinks_;  // on the GPU, with spare rows
};

/// The table's rows for this GPU that compute both passes of such a case.
std::vector<std::string> gpu_rows(const CaseShape& shape);

/// Runs a case by every row and checks every result; says what is wrong and goes on.
void expect_correct(GpuCase& problem);

/// Checks one result by the rule; `floor` is what sums in f32 may be off by, 16 bits apart.
void expect_close(const char* name, const CaseResults& ours, const CaseResults& exact,
                  const CaseResults& plain, std::vector<double> CaseResults::*result,
                  const GpuCase& problem, double floor);

/// Worst of |ours − exact| / bound over all checks so far, one line a result.
std::string worst_so_far();

/// The context that all GPU tests of a program share.
cuda::Context& gpu();

}  // namespace heddle::test
