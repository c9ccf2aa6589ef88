// Attention of one query a row over its own range of a pool, against the definition in double.
#include "heddle/attention/decode.h"

#include "heddle/attention/cpu/tables.h"
#include "tests/ops/cases.h"

namespace heddle::attention {
namespace {

using namespace ops::cases;

std::vector<std::string> kernels() {
  std::vector<std::string> names = {"portable"};
  if (cpu::avx2_kernels() != nullptr) names.emplace_back("avx2");
  if (cpu::avx512_kernels() != nullptr) names.emplace_back("avx512");
  return names;
}

struct Sizes {
  int heads, kv_heads, head_dim;
};

TEST(DecodeRows, AgainstDouble) {
  const std::vector<int32_t> begin = {0, 5, 5, 70, 3}, length = {5, 1, 64, 33, 0};
  constexpr int64_t kTokens = 103;
  for (const auto& [heads, kv_heads, dim] :
       {Sizes{8, 8, 32}, {4, 2, 16}, {2, 1, 128}, {3, 3, 7}, {1, 1, 45}}) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const int64_t width = kv_heads * dim, q_width = heads * dim;
      const std::vector<float> q = normal_values(5 * q_width, 1, 1);
      std::vector<float> keys = normal_values(kTokens * width, 1, 2);
      std::vector<float> values = normal_values(kTokens * width, 1, 3);
      std::vector<BFloat16> short_keys, short_values;
      for (float& x : keys) short_keys.emplace_back(x);
      for (float& x : values) short_values.emplace_back(x);
      if (dtype == DType::bf16) {
        for (size_t i = 0; i < keys.size(); ++i) {
          keys[i] = static_cast<float>(short_keys[i]);
          values[i] = static_cast<float>(short_values[i]);
        }
      }
      const float scale = 0.3f;
      std::vector<double> exact, exact_weights(5 * static_cast<size_t>(heads) * 64, -1.0);
      for (size_t r = 0; r < 5; ++r) {
        for (int h = 0; h < heads; ++h) {
          const int64_t head = h / (heads / kv_heads) * dim;
          std::vector<double> p, out(static_cast<size_t>(dim), 0.0);
          double sum = 0;
          for (int64_t j = begin[r]; j < begin[r] + length[r]; ++j) {
            double dot = 0;
            for (int e = 0; e < dim; ++e) {
              dot += static_cast<double>(
                         q[r * static_cast<size_t>(q_width) + static_cast<size_t>(h * dim + e)]) *
                     keys[static_cast<size_t>(j * width + head + e)];
            }
            p.push_back(std::exp(dot * scale));
            sum += p.back();
          }
          for (size_t j = 0; j < p.size(); ++j) {
            exact_weights[(r * static_cast<size_t>(heads) + static_cast<size_t>(h)) * 64 + j] =
                p[j] / sum;
            for (int e = 0; e < dim; ++e) {
              out[static_cast<size_t>(e)] +=
                  p[j] / sum *
                  values[static_cast<size_t>((begin[r] + static_cast<int64_t>(j)) * width + head +
                                             e)];
            }
          }
          exact.insert(exact.end(), out.begin(), out.end());
        }
      }
      for (const std::string& name : kernels()) {
        std::vector<float> out(q.size()), weights(exact_weights.size(), -1.0f);
        const bool wide = dtype == DType::f32;
        const RowDecode rows{
            .q = q.data(),
            .q_stride = q_width,
            .keys = wide ? static_cast<void*>(keys.data()) : short_keys.data(),
            .values = wide ? static_cast<void*>(values.data()) : short_values.data(),
            .token_stride = width,
            .dtype = dtype,
            .begin = begin,
            .length = length,
            .heads = heads,
            .kv_heads = kv_heads,
            .head_dim = dim,
            .scale = scale,
            .out = out.data(),
            .out_stride = q_width,
            .weights = weights.data(),
            .weights_stride = 64 * heads,
            .weights_head_stride = 64};
        decode(rows, name);
        expect_close(out, exact, 3e-6, name);
        expect_close(weights, exact_weights, 1e-6, name);
      }
    }
  }
}

/// Poison everywhere else in the pool, and each row alone: the same bits.
TEST(DecodeRows, ReadsItsRangeOnly) {
  constexpr int64_t kDim = 24, kTokens = 40;
  const std::vector<float> q = normal_values(2 * kDim, 1, 1);
  std::vector<float> pool = normal_values(kTokens * kDim, 1, 2);
  const std::vector<int32_t> begin = {3, 20}, length = {11, 9};
  for (const std::string& name : kernels()) {
    std::vector<float> clean(q.size()), poisoned(q.size());
    RowDecode rows{.q = q.data(),
                   .q_stride = kDim,
                   .keys = pool.data(),
                   .values = pool.data(),
                   .token_stride = kDim,
                   .begin = begin,
                   .length = length,
                   .heads = 1,
                   .kv_heads = 1,
                   .head_dim = kDim,
                   .scale = 1,
                   .out = clean.data(),
                   .out_stride = kDim};
    decode(rows, name);
    std::vector<float> dirty = pool;
    for (int64_t t = 0; t < kTokens; ++t) {
      if ((t >= 3 && t < 14) || (t >= 20 && t < 29)) continue;
      std::fill_n(dirty.begin() + t * kDim, kDim, std::numeric_limits<float>::quiet_NaN());
    }
    rows.keys = rows.values = dirty.data();
    rows.out = poisoned.data();
    decode(rows, name);
    expect_same_bits(poisoned, clean, name);
    std::vector<float> alone(kDim);
    rows.q = q.data() + kDim;
    rows.begin = rows.begin.subspan(1);
    rows.length = rows.length.subspan(1);
    rows.out = alone.data();
    decode(rows, name);
    expect_same_bits(alone, {clean.begin() + kDim, clean.end()}, name);
  }
}

}  // namespace
}  // namespace heddle::attention
