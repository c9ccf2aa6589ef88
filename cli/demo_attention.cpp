#include "cli/demo_attention.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>

#include "cli/command_line.h"
#include "cli/format.h"
#include "heddle/attention/attention.h"
#include "heddle/base/random.h"
#include "heddle/base/timer.h"
#include "heddle/mask/algebra.h"
#include "heddle/mask/families.h"

namespace heddle::cli {

namespace {

constexpr int64_t kHeads = 4, kHeadDim = 64;  // H = K, E
constexpr TileShape kTile{64, 64};            // of the CPU rows
constexpr int64_t kMostCheckedRows = 48;
constexpr uint64_t kSeed = 1;

Tensor random_tensor(const Shape& shape, uint64_t stream) {
  Tensor tensor = Tensor::empty(shape, DType::f32);
  Random random(kSeed, stream);
  for (int64_t i = 0; i < shape.elements(); ++i) {
    tensor.data<float>()[i] = static_cast<float>(random.normal());
  }
  return tensor;
}

/// One problem, computed with skipping and without.
class Sample {
 public:
  Sample(std::string_view family, int64_t length, ThreadPool& threads)
      : mask_(masks::family(family, length, kHeads, kSeed)) {
    args_.q = random_tensor({length, kHeads, kHeadDim}, 1);             // [T, H, E]
    args_.k = random_tensor({length, kHeads, kHeadDim}, 2);             // [T, K, E]
    args_.v = random_tensor({length, kHeads, kHeadDim}, 3);             // [T, K, E]
    args_.out = Tensor::zeros({length, kHeads, kHeadDim}, DType::f32);  // [T, H, E]
    args_.lse = Tensor::zeros({kHeads, length}, DType::f32);            // [H, T]
    args_.mask = &mask_;
    args_.threads = &threads;
  }

  std::string line() {
    const MaskPlan plan(mask_, kTile), dense = MaskPlan::without_skipping(mask_, kTile);
    const double without = seconds(dense);
    const Tensor out = args_.out;
    args_.out = Tensor::zeros(out.shape(), DType::f32);
    seconds(plan);  // the first run warms up
    const double with = std::min(seconds(plan), seconds(plan));
    const bool same = std::memcmp(out.raw(), args_.out.raw(),
                                  static_cast<size_t>(out.elements()) * sizeof(float)) == 0;
    const double pairs =
        static_cast<double>(mask_.visible_pairs()) * static_cast<double>(kHeads) / mask_.heads();
    return right_aligned(percent_text(mask_.density()), 9) + right_aligned(seconds_text(with), 11) +
           right_aligned(seconds_text(without), 11) + right_aligned(times_text(without, with), 10) +
           right_aligned(str(std::lround(4 * pairs * kHeadDim / with / 1e9)), 10) +
           right_aligned(same ? "yes" : "NO", 11) + right_aligned(error_text(), 12);
  }

 private:
  double seconds(const MaskPlan& plan) {
    args_.plan = &plan;
    const Timer timer;
    attention::forward(args_);
    return timer.seconds();
  }

  /// Largest difference from the reference in double precision, on rows spread over the sequence.
  std::string error_text() const {
    const int64_t length = mask_.query_length(), checked = std::min(length, kMostCheckedRows);
    std::vector<int32_t> rows;
    for (int64_t i = 0; i < checked; ++i)
      rows.push_back(static_cast<int32_t>(length * i / checked));
    const ColumnMask mask = masks::select_rows(mask_, rows);
    attention::Args args = args_;
    args.mask = &mask;
    args.plan = nullptr;
    args.q = Tensor::empty({checked, kHeads, kHeadDim}, DType::f32);    // [rows, H, E]
    args.out = Tensor::empty({checked, kHeads, kHeadDim}, DType::f32);  // [rows, H, E]
    args.lse = Tensor::empty({kHeads, checked}, DType::f32);            // [H, rows]
    constexpr int64_t kRow = kHeads * kHeadDim;
    for (size_t i = 0; i < rows.size(); ++i) {
      std::copy_n(args_.q.data<float>() + rows[i] * kRow, kRow,
                  args.q.data<float>() + static_cast<int64_t>(i) * kRow);
    }
    attention::forward(args, "reference");
    double largest = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
      for (int64_t e = 0; e < kRow; ++e) {
        const double difference =
            double{args.out.data<float>()[static_cast<int64_t>(i) * kRow + e]} -
            double{args_.out.data<float>()[rows[i] * kRow + e]};
        largest = std::max(largest, std::abs(difference));
      }
    }
    char text[16];
    std::snprintf(text, sizeof text, "%.1e", largest);
    return text;
  }

  ColumnMask mask_;
  attention::Args args_;
};

}  // namespace

void print_attention_table(const std::vector<std::string_view>& families, int64_t length) {
  ThreadPool threads;
  print(str("\nExact attention, forward, f32, ", with_separators(length), " tokens, ", kHeads,
            " heads of ", kHeadDim, ", ", threads.threads(), " threads of this machine\n\n",
            left_aligned("  mask", 20), right_aligned("density", 9), right_aligned("time", 11),
            right_aligned("no skips", 11), right_aligned("speed-up", 10),
            right_aligned("GFLOP/s", 10), right_aligned("same bits", 11),
            right_aligned("max error", 12), "\n"));
  for (const std::string_view family : families) {
    print(str(left_aligned(str("  ", family), 20), Sample(family, length, threads).line(), "\n"));
  }
  print("\n  GFLOP/s counts visible pairs alone; the error is against double precision.\n");
}

}  // namespace heddle::cli
