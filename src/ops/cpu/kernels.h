// What the operations (../*.cpp) ask of an instruction set: arithmetic on plain pointers.
//
// Elementwise arithmetic works on 16 lanes everywhere, without fused multiply-adds and with sums in
// one fixed order, so that all instruction sets give the same bits; integer products are exact.
// Only products of floats may differ between instruction sets, in their last bits.
#pragma once

#include <cstdint>

#include "heddle/ops/activation.h"
#include "heddle/ops/cpu/gradient_kernels.h"

namespace heddle::ops::cpu {

inline constexpr int kTile = 16;  ///< columns (rows of a weight) that are packed together

/// What becomes of the rows of a product: y = f(product + bias) + residual, as floats, codes or
/// both.
struct Finish {
  const float* bias;  ///< [N] or null
  Activation activation;
  const float* residual;  ///< [R, N] or null
  int64_t residual_stride;
  float* y;  ///< [R, N] or null
  int64_t y_stride;
  uint8_t* codes;  ///< [R, N] or null; N rounded up to kTile may be written
  int64_t codes_stride;
  float inverse_step;
  int zero;
};

/// Columns [first, end) of a product, `first` a multiple of kTile. Column `first` of the product is
/// column 0 of Finish.
struct Span {
  int64_t first, end;
};

struct Int8Product {
  const uint8_t* codes;  ///< [R, K]
  int64_t codes_stride;
  int64_t rows;
  int zero;
  const float* steps;  ///< [R], or null: `step`
  float step;
  const struct PackedInt8* weight;
  Span columns;
  Finish finish;
  uint8_t* prepared;  ///< what prepare_int8 wrote
};

struct FloatProduct {
  const float* x;  ///< [R, K]
  int64_t x_stride;
  int64_t rows;
  const struct PackedFloat* weight;
  Span columns;
  Finish finish;
};

/// Dots of one row with chosen rows of a weight; each has the bits that the whole product gives it.
struct RowDots {
  const float* x;        ///< [K], for a weight of floats
  const uint8_t* codes;  ///< [K], for one of int8
  int zero;
  float step;
  const struct PackedInt8* int8;  ///< with plain rows; null for floats
  const struct PackedFloat* floats;
  const int32_t* ids;  ///< [count]
  int64_t count;
  const float* bias;  ///< [N] or null
  float* logits;      ///< [count]
  int32_t* totals;    ///< scratch [count]
  uint8_t* scratch;   ///< 2 · scratch_bytes, each enough for the codes
  int64_t scratch_bytes;
};

/// One row of layer norm or RMS norm.
struct NormRow {
  const float* x;
  const float* residual;  ///< or null
  const float* weight;
  const float* bias;  ///< or null
  int64_t width;
  float epsilon;
  bool subtract_mean;
  float* y;        ///< or null
  float* sums;     ///< scratch [width], may be y
  uint8_t* codes;  ///< or null
  float inverse_step;
};

struct Kernels {
  const char* name;
  bool (*supported)();
  bool pair_sums;  ///< int8 weights need ClippedWeights or GroupedWeights
  /// Bytes of what a product of `rows` reads beside the codes, and its maker: once for all columns,
  /// into product.prepared. Both null where nothing is read.
  int64_t (*prepared_bytes)(const struct PackedInt8& weight, int64_t rows);
  void (*prepare_int8)(const Int8Product& product);
  void (*multiply_int8)(const Int8Product& product);
  void (*multiply_float)(const FloatProduct& product);
  void (*dot_rows_int8)(const RowDots& dots);
  void (*dot_rows_float)(const RowDots& dots);
  /// codes = zero + clip(rint(x · inverse_step), ±127); padded to kTile.
  void (*quantize)(const float* x, int64_t width, float inverse_step, int zero, uint8_t* codes);
  float (*largest)(const float* x, int64_t width);  ///< largest |x|; NaN left out
  void (*norm)(const NormRow& row);
  void (*activate)(float* x, int64_t width, Activation activation);
  /// y = f(gate) ∘ x
  void (*glu)(const float* gate, const float* x, int64_t width, Activation activation, float* y);
  /// x = exp(x − max), returns Σ; `max` is set to the largest x.
  float (*exponentials)(float* x, int64_t width, float* max);
  /// cell = f ∘ cell + (1 − f) ∘ x, f = sigmoid(forget); out = relu(cell)
  void (*ssru)(const float* x, const float* forget, int64_t width, float* cell, float* out);
  float (*most)(const float* x, int64_t width);  ///< largest x; −inf when all are NaN
  GradientKernels backward;
};

}  // namespace heddle::ops::cpu
