// GOP/s of the operations, shape by shape and instruction set by instruction set:
//
//   bench_ops [instructions] [substring of the case's name]
//
// A multiplication and an addition are two operations. Times are the best of many short runs on the
// thread that runs: pin it to one core.
#include <dlfcn.h>

#include <algorithm>
#include <cstdio>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "heddle/attention/decode.h"
#include "heddle/base/random.h"
#include "heddle/base/timer.h"
#include "heddle/ops/cpu/tables.h"
#include "heddle/ops/linear.h"
#include "heddle/ops/norm.h"
#include "heddle/ops/project.h"
#include "heddle/ops/ssru.h"

namespace heddle::ops {
namespace {

std::string wanted;

double best_seconds(const std::function<void()>& body) {
  constexpr double kEnough = 0.15;
  double best = std::numeric_limits<double>::infinity();
  const Timer all;
  do {
    const Timer timer;
    body();
    best = std::min(best, timer.seconds());
  } while (all.seconds() < kEnough);
  return best;
}

void report(const std::string& name, double operations, const std::function<void()>& body) {
  if (name.find(wanted) == std::string::npos) return;
  const double seconds = best_seconds(body);
  std::printf("%-44s %9.2f us %8.1f GOP/s\n", name.c_str(), 1e6 * seconds,
              operations / seconds / 1e9);
}

Tensor random_tensor(Shape shape, uint64_t seed) {
  Tensor tensor = Tensor::empty(shape, DType::f32);
  Random random(seed);
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    tensor.data<float>()[i] = static_cast<float>(random.normal());
  }
  return tensor;
}

/// Weights as trained models have them: rounded normal numbers of this spread, in 8 bits.
Weight int8_weight(int64_t rows, int64_t columns, double spread, float input_scale) {
  Weight weight{.values = Tensor::empty({rows, columns}, DType::i8),
                .scales = Tensor::empty({1}, DType::f32),
                .input_scale = input_scale};
  Random random(7);
  for (int64_t i = 0; i < weight.values.elements(); ++i) {
    const double value = std::clamp(random.normal() * spread, -127.0, 127.0);
    weight.values.data<int8_t>()[i] = static_cast<int8_t>(value);
  }
  weight.scales.data<float>()[0] = 0.01f;
  return weight;
}

void bench_linear(const std::string& name, int64_t count, const Matrix& matrix,
                  const Epilogue& epilogue, std::string_view instructions) {
  Workspace workspace(instructions);
  Rows x(count, matrix.columns(), workspace), y(count, matrix.rows(), workspace);
  const Tensor values = random_tensor({count, matrix.columns()}, 3);
  std::copy_n(values.data<float>(), values.elements(), x.row(0));
  if (name.find("relu input") != std::string::npos) {
    activate(x, Activation::relu, workspace);
    Rows codes(count, matrix.columns(), workspace);
    uint8_t* to = codes.fill_codes(matrix.input_scale(), 0, true);
    for (int64_t i = 0; i < values.elements(); ++i) {
      to[i] = static_cast<uint8_t>(std::min(127.0f, x.row(0)[i] / matrix.input_scale()));
    }
    report(name + " M=" + std::to_string(count), 2.0 * count * matrix.rows() * matrix.columns(),
           [&] { linear(codes, matrix, epilogue, y, workspace); });
    return;
  }
  report(name + " M=" + std::to_string(count), 2.0 * count * matrix.rows() * matrix.columns(),
         [&] { linear(x, matrix, epilogue, y, workspace); });
}

void bench_products(std::string_view instructions) {
  const Matrix up(int8_weight(1536, 256, 16, 1 / 16.0f), Precision::native, instructions);
  const Matrix down(int8_weight(256, 1536, 13, 1 / 16.0f), Precision::native, instructions);
  const Matrix qkv(int8_weight(768, 256, 27, 1 / 16.0f), Precision::native, instructions);
  const Matrix square(int8_weight(256, 256, 22, 1 / 25.0f), Precision::native, instructions);
  const Matrix by_row(Weight{random_tensor({2048, 512}, 5)}, Precision::int8, instructions);
  const std::vector<float> bias(32000, 0.1f);
  for (const int64_t count : {1, 4, 16, 64, 256}) {
    bench_linear("int8 256->1536 relu to codes", count, up,
                 {.bias = bias.data(), .activation = Activation::relu, .next = {1 / 16.0f, true}},
                 instructions);
    bench_linear("int8 1536->256 relu input", count, down, {.bias = bias.data()}, instructions);
    bench_linear("int8 256->768", count, qkv, {.bias = bias.data()}, instructions);
    bench_linear("int8 256->256", count, square, {.bias = bias.data()}, instructions);
    bench_linear("int8 512->2048 a step a row", count, by_row, {.bias = bias.data()}, instructions);
  }
}

using Sgemm = void (*)(int, int, int, int, int, int, float, const float*, int, const float*, int,
                       float, float*, int);

/// cblas_sgemm of OpenBLAS on one thread, where it is installed.
Sgemm openblas() {
  void* library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) return nullptr;
  reinterpret_cast<void (*)(int)>(dlsym(library, "openblas_set_num_threads"))(1);
  return reinterpret_cast<Sgemm>(dlsym(library, "cblas_sgemm"));
}

void bench_floats(std::string_view instructions) {
  const Sgemm sgemm = openblas();
  for (const auto& [rows, columns] :
       {std::pair<int64_t, int64_t>{1536, 256}, {2048, 512}, {512, 2048}}) {
    const Tensor weights = random_tensor({rows, columns}, 4);
    const std::string shape = std::to_string(columns) + "->" + std::to_string(rows);
    const Matrix f32(Weight{weights}, Precision::f32, instructions);
    const Matrix bf16(Weight{weights}, Precision::bf16, instructions);
    for (const int64_t count : {1, 16, 64, 256}) {
      bench_linear("f32  " + shape, count, f32, {}, instructions);
      bench_linear("bf16 " + shape, count, bf16, {}, instructions);
      if (sgemm == nullptr) continue;
      const Tensor x = random_tensor({count, columns}, 6), y = random_tensor({count, rows}, 6);
      report("OpenBLAS " + shape + " M=" + std::to_string(count), 2.0 * count * rows * columns,
             [&] {
               const int m = static_cast<int>(count), n = static_cast<int>(rows),
                         k = static_cast<int>(columns);
               sgemm(101, 111, 112, m, n, k, 1, x.data<float>(), k, weights.data<float>(), k, 0,
                     y.data<float>(), n);
             });
    }
  }
}

void bench_projection(std::string_view instructions) {
  const Matrix table(int8_weight(32000, 256, 17.5, 1 / 8.8f), Precision::native, instructions);
  const std::vector<float> bias(32000, 0.1f);
  for (const int64_t count : {1, 16, 64}) {
    Workspace workspace(instructions);
    Rows x(count, 256, workspace);
    const Tensor values = random_tensor({count, 256}, 3);
    std::copy_n(values.data<float>(), values.elements(), x.row(0));
    std::vector<int32_t> ids(static_cast<size_t>(4 * count));
    std::vector<float> sums(static_cast<size_t>(count));
    const std::string m = " M=" + std::to_string(count);
    const double all = 2.0 * count * 32000 * 256;
    report("argmax of 32000" + m, all, [&] {
      argmax(x, {&table, bias.data()}, {ids.data()}, workspace);
    });
    report("top 4 of 32000 with log-sum" + m, all, [&] {
      top_k(x, {&table, bias.data()}, 4, {ids.data(), nullptr, sums.data()}, workspace);
    });
    Random random(9);
    std::vector<int32_t> candidates, offsets{0};
    for (int64_t r = 0; r < count; ++r) {
      for (int32_t id = static_cast<int32_t>(random.below(40)); id < 32000;
           id += 1 + static_cast<int32_t>(random.below(80))) {
        candidates.push_back(id);
      }
      offsets.push_back(static_cast<int32_t>(candidates.size()));
    }
    report("argmax of a shortlist of 790 a row" + m,
           2.0 * static_cast<double>(candidates.size()) * 256, [&] {
             argmax(x, {&table, bias.data(), {}, {candidates, offsets}}, {ids.data()}, workspace);
           });
  }
}

void bench_elementwise(std::string_view instructions) {
  constexpr int64_t kRows = 64, kWidth = 256;
  Workspace workspace(instructions);
  Rows x(kRows, kWidth, workspace), y(kRows, kWidth, workspace),
      gates(kRows, 2 * kWidth, workspace);
  const Tensor values = random_tensor({kRows, 2 * kWidth}, 3);
  std::copy_n(values.data<float>(), x.count() * x.width(), x.row(0));
  std::copy_n(values.data<float>(), values.elements(), gates.row(0));
  const std::vector<float> weight(kWidth, 1.0f);
  std::vector<float> cells(static_cast<size_t>(kRows * kWidth));
  std::vector<int32_t> slots;
  for (int32_t r = 0; r < kRows; ++r) slots.push_back(r);
  const double elements = kRows * kWidth;
  report("layer norm 64 x 256 to codes", elements, [&] {
    layer_norm(x, &x, {weight.data(), weight.data()}, {.step = 0.1f}, y, workspace);
  });
  report("quantise 64 x 256", elements, [&] {
    x.changed();
    x.codes(0.1f, workspace);
  });
  report("ssru 64 x 256", elements, [&] { ssru_step(gates, cells.data(), slots, y, workspace); });
  report("gelu 64 x 256", elements, [&] { activate(y, Activation::gelu, workspace); });
}

void bench_decode(const std::string& instructions) {
  constexpr int kHeads = 8, kWidth = 32, kDim = kHeads * kWidth;
  constexpr int64_t kRows = 64, kLength = 28, kTokens = kRows * kLength;
  const Tensor q = random_tensor({kRows, kDim}, 1), pool = random_tensor({2 * kTokens, kDim}, 2);
  Tensor out = Tensor::empty({kRows, kDim}, DType::f32);
  std::vector<int32_t> begin, length(kRows, kLength);
  for (int32_t r = 0; r < kRows; ++r) begin.push_back(r * static_cast<int32_t>(kLength));
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const auto bytes = static_cast<int64_t>(size_of(dtype));
    const attention::RowDecode rows{
        .q = q.data<float>(),
        .q_stride = kDim,
        .keys = pool.raw(),
        .values = static_cast<const char*>(pool.raw()) + kTokens * kDim * bytes,
        .token_stride = kDim,
        .dtype = dtype,
        .begin = begin,
        .length = length,
        .heads = kHeads,
        .kv_heads = kHeads,
        .head_dim = kWidth,
        .scale = 0.2f,
        .out = out.data<float>(),
        .out_stride = kDim};
    const std::string name = std::string(name_of(dtype));
    report("decode 64 rows x 28 keys, 8 heads of 32, " + name, 4.0 * kTokens * kDim,
           [&] { attention::decode(rows, instructions == "avx512vnni" ? "avx512" : ""); });
  }
}

}  // namespace
}  // namespace heddle::ops

int main(int count, char** arguments) {
  using namespace heddle::ops;
  const std::string instructions = count > 1 ? arguments[1] : "";
  if (count > 2) wanted = arguments[2];
  std::printf("%s\n", cpu::kernels_for(instructions).name);
  bench_products(instructions);
  bench_projection(instructions);
  bench_floats(instructions);
  bench_elementwise(instructions);
  bench_decode(instructions);
}
