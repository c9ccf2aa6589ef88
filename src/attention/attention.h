// Exact attention under a ColumnMask, the one attention of Heddle: for training, for encoders of
// packed sentences (document mask), for cross-attention (rectangular document mask), for decoding.
//
//   x[i, j] = cap(scale · q[i]·k[j]) − slope · |i + offset − j|        where the mask allows (i, j)
//   lse[i]  = ln(Σ_j exp x[i, j] + exp sink)
//   out[i]  = Σ_j exp(x[i, j] − lse[i]) · v[j]
//
// with cap(x) = softcap · tanh(x / softcap) when softcap > 0. A row that sees no key gets out = 0,
// lse = −inf and zero gradients, with or without a sink. What the mask hides is never multiplied
// by anything, so NaN or infinity there does not leak.
//
// FlashAttention-2, arXiv 2307.08691 (lse, backward); ALiBi, arXiv 2108.12409; sinks,
// arXiv 2309.17453 in the form of a learned logit a head; soft-cap, arXiv 2408.00118.
#pragma once

#include <optional>
#include <string_view>

#include "heddle/base/threads.h"
#include "heddle/mask/mask.h"
#include "heddle/mask/plan.h"
#include "heddle/tensor/tensor.h"

namespace heddle {

class DeviceMask;

namespace cuda {
class Context;
}

}  // namespace heddle

namespace heddle::attention {

inline constexpr int64_t kMaxHeadDim = 256;

/// Query head h reads key/value head h / (H / K). The innermost axis of every tensor is dense.
struct Args {
  Tensor q;    ///< [Tq, H, E]
  Tensor k;    ///< [Tk, K, E]
  Tensor v;    ///< [Tk, K, Ev]
  Tensor out;  ///< [Tq, H, Ev], of q's dtype
  Tensor lse;  ///< [H, Tq], natural logarithm; f64 when q is f64, else f32

  const ColumnMask* mask = nullptr;  ///< Tq × Tk; one head, or one a key/value head

  std::optional<double> scale{};  ///< 1 / sqrt(E) when not given
  double softcap = 0;             ///< 0: off
  Tensor sinks{};                 ///< f32 [H], or undefined: one more logit in each row's softmax
  Tensor alibi_slopes{};          ///< f32 [H], or undefined

  const MaskPlan* plan = nullptr;  ///< used where its tiles fit the implementation, else made anew
  ThreadPool* threads = nullptr;   ///< the caller alone when not given

  heddle::cuda::Context* cuda =
      nullptr;                        ///< stream and scratch memory; needed for tensors on a GPU
  DeviceMask* device_mask = nullptr;  ///< `mask` on that GPU, kept over calls; else made anew
  bool deterministic = false;         ///< backward: the same bits in every run, slower on a GPU
};

/// What backward reads and writes beside Args; out and lse must hold the forward's results.
struct Gradients {
  Tensor d_out;      ///< [Tq, H, Ev]
  Tensor d_q;        ///< [Tq, H, E]
  Tensor d_k;        ///< [Tk, K, E]
  Tensor d_v;        ///< [Tk, K, Ev]
  Tensor d_sinks{};  ///< f32 [H]; needed exactly when Args has sinks
};

/// Computes out and lse. `implementation` forces a row of the table by name; empty takes the first
/// that applies.
void forward(const Args& args, std::string_view implementation = {});

/// Overwrites d_q, d_k, d_v (and d_sinks) with the gradients of Σ out·d_out.
void backward(const Args& args, const Gradients& gradients, std::string_view implementation = {});

}  // namespace heddle::attention
