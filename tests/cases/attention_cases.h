// The case list of attention: mask × heads × head dims × options. A case makes its tensors from its
// seed, so that tests, benchmarks and other devices see the same numbers.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "heddle/attention/attention.h"
#include "heddle/base/random.h"
#include "heddle/mask/builders.h"
#include "heddle/mask/families.h"

namespace heddle::cases {

struct AttentionCase {
  std::string name;
  ColumnMask mask;
  int64_t heads = 1, kv_heads = 1;
  int64_t head_dim = 16, value_dim = 16;
  double softcap = 0;
  bool sinks = false, alibi = false;
  bool strided = false;  ///< gaps between heads and between rows
  uint64_t seed = 1;
};

/// NaN, [T, heads, width], for results; with `strided`, a view into a larger buffer.
inline Tensor unwritten_tensor(const Shape& shape, bool strided = false) {
  const int64_t gap = strided ? 3 : 0, first = strided ? 2 : 0;
  Tensor whole = Tensor::empty({shape[0], shape[1] + gap, shape[2] + gap}, DType::f32);
  std::fill_n(whole.data<float>(), whole.elements(), std::nanf(""));
  return whole.slice(1, gap / 2, gap / 2 + shape[1]).slice(2, first, first + shape[2]);
}

/// The same with normal numbers in it, and NaN in the gaps.
inline Tensor random_tensor(const Shape& shape, uint64_t seed, bool strided = false) {
  Tensor tensor = unwritten_tensor(shape, strided);
  Random random(seed);
  for (int64_t t = 0; t < shape[0]; ++t) {
    for (int64_t h = 0; h < shape[1]; ++h) {
      float* row = tensor.data<float>() + t * tensor.stride(0) + h * tensor.stride(1);
      for (int64_t e = 0; e < shape[2]; ++e) row[e] = static_cast<float>(random.normal());
    }
  }
  return tensor;
}

/// The tensors of a case in f32, and the arguments that name them.
struct AttentionProblem {
  explicit AttentionProblem(const AttentionCase& c) : mask(c.mask) {
    const int64_t rows = mask.query_length(), keys = mask.key_length();
    args.q = random_tensor({rows, c.heads, c.head_dim}, c.seed * 8 + 1, c.strided);  // [Tq, H, E]
    args.k =
        random_tensor({keys, c.kv_heads, c.head_dim}, c.seed * 8 + 2, c.strided);  // [Tk, K, E]
    args.v =
        random_tensor({keys, c.kv_heads, c.value_dim}, c.seed * 8 + 3, c.strided);  // [Tk, K, Ev]
    args.out = unwritten_tensor({rows, c.heads, c.value_dim}, c.strided);           // [Tq, H, Ev]
    args.lse = Tensor::empty({c.heads, rows}, DType::f32);                          // [H, Tq]
    args.mask = &mask;
    args.softcap = c.softcap;
    gradients.d_out = random_tensor(args.out.shape(), c.seed * 8 + 5, c.strided);
    gradients.d_q = unwritten_tensor(args.q.shape(), c.strided);
    gradients.d_k = unwritten_tensor(args.k.shape(), c.strided);
    gradients.d_v = unwritten_tensor(args.v.shape(), c.strided);
    if (c.sinks) {
      args.sinks = random_tensor({c.heads, 1, 1}, c.seed * 8 + 7).reshape({c.heads});  // [H]
      gradients.d_sinks = Tensor::zeros({c.heads}, DType::f32);
    }
    if (c.alibi) {
      args.alibi_slopes = Tensor::empty({c.heads}, DType::f32);  // [H]
      for (int64_t h = 0; h < c.heads; ++h) {
        args.alibi_slopes.data<float>()[h] = std::exp2f(-1.5f * static_cast<float>(h + 1));
      }
    }
  }
  AttentionProblem(const AttentionProblem&) = delete;  // args point at the mask
  AttentionProblem& operator=(const AttentionProblem&) = delete;

  ColumnMask mask;
  attention::Args args;
  attention::Gradients gradients;
};

/// Heads and widths that cases take in turn: GQA 1, 4, 8; widths 16 … 256, odd ones and Ev ≠ E.
struct HeadShape {
  int64_t heads, kv_heads, head_dim, value_dim;
};
inline const std::vector<HeadShape>& head_shapes() {
  static const std::vector<HeadShape> shapes = {
      {2, 2, 64, 64}, {4, 1, 32, 32},   {8, 1, 16, 16}, {1, 1, 128, 128}, {4, 1, 80, 80},
      {2, 2, 24, 40}, {1, 1, 256, 256}, {2, 1, 1, 1},   {1, 1, 33, 7},    {8, 2, 20, 65},
  };
  return shapes;
}

inline AttentionCase family_case(std::string_view family, int64_t length, const HeadShape& shape,
                                 uint64_t seed = 1) {
  return {.name = str(family, " T=", length, " H=", shape.heads, " K=", shape.kv_heads,
                      " E=", shape.head_dim, " Ev=", shape.value_dim),
          .mask = masks::family(family, length, shape.kv_heads, seed),
          .heads = shape.heads,
          .kv_heads = shape.kv_heads,
          .head_dim = shape.head_dim,
          .value_dim = shape.value_dim,
          .seed = seed};
}

/// Tq ≠ Tk, dead rows and columns, options; small.
inline std::vector<AttentionCase> special_cases() {
  std::vector<AttentionCase> cases;
  const auto add = [&](std::string name, ColumnMask mask,
                       const HeadShape& shape) -> AttentionCase& {
    cases.push_back({.name = std::move(name),
                     .mask = std::move(mask),
                     .heads = shape.heads,
                     .kv_heads = shape.kv_heads,
                     .head_dim = shape.head_dim,
                     .value_dim = shape.value_dim});
    return cases.back();
  };
  add("full 70 x 131", masks::full(70, 131), {2, 1, 48, 48});
  add("full 131 x 3", masks::full(131, 3), {2, 2, 64, 64});
  add("full 1 x 200", masks::full(1, 200), {4, 2, 64, 64});
  add("causal 100 x 260", masks::causal_with_offset(100, 260, 160), {4, 4, 64, 64});
  add("causal 260 x 100, dead rows", masks::causal_with_offset(260, 100, -160), {2, 1, 32, 32});
  add("cross documents", masks::cross_document({40, 0, 90, 7}, {10, 33, 80, 64}), {2, 1, 64, 64});
  add("padding rows", masks::valid_rows(150, 150, 77), {2, 2, 64, 64});
  add("all dead", masks::valid_rows(130, 70, 0), {2, 1, 16, 16});
  add("tiny documents", masks::causal_document(masks::Lengths(150, 2)), {1, 1, 64, 64});
  add("tree", masks::prefix_tree({{-1, 70}, {0, 60}, {1, 9}, {0, 80}, {-1, 50}}), {2, 2, 64, 64});
  add("softcap", masks::causal(150), {2, 2, 64, 64}).softcap = 5;
  add("alibi", masks::causal(150), {4, 1, 64, 64}).alibi = true;
  add("alibi 60 x 150", masks::causal_with_offset(60, 150, 90), {2, 2, 40, 40}).alibi = true;
  add("sinks", masks::sliding_window(200, 50), {4, 2, 64, 64}).sinks = true;
  AttentionCase& all = add("all options", masks::document({100, 30, 70}), {4, 2, 72, 56});
  all.softcap = 20;
  all.sinks = all.alibi = all.strided = true;
  AttentionCase& dead = add("sinks, dead rows", masks::valid_rows(90, 90, 50), {2, 2, 64, 64});
  dead.sinks = true;
  add("strided", masks::causal(140), {4, 2, 64, 64}).strided = true;
  add("strided, odd", masks::causal(140), {4, 2, 61, 67}).strided = true;
  return cases;
}

}  // namespace heddle::cases
