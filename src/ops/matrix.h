// Weights [N, K], packed once for the kernels of this processor.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "heddle/tensor/tensor.h"

namespace heddle::ops {

/// How weights are held and multiplied. `native`: as they are stored, 16-bit formats as bf16. f16
/// is for GPUs.
enum class Precision : uint8_t { native, f32, bf16, f16, int8 };

/// That of `name`; `option` is what the user wrote it behind.
Precision precision_named(std::string_view name, std::string_view option);

/// A weight as a model file has it.
struct Weight {
  Tensor values;           ///< [N, K] f32, f16, bf16 or i8, contiguous
  Tensor scales{};         ///< f32 [N] or [1], for i8: weight = value · scale
  float input_scale = 0;   ///< step of the quantised inputs; 0: one a row
  bool from_relu = false;  ///< int8: inputs are not negative, and then some products are faster
};

namespace cpu {
struct Kernels;
struct PackedInt8;
struct PackedFloat;
}  // namespace cpu

/// Read-only once made, and shared by all threads. Cheap to copy: copies share the memory.
///
/// int8: y = Σ_k (code[k] − zero) · value[n, k], exact in 32 bits, then · (step · scale[n]). Sums
/// are exact, so results have the same bits in every batch and on every processor. f32, bf16: one
/// fused multiply-add after the other in k's order, the same for any number of rows.
class Matrix {
 public:
  Matrix() = default;

  /// Packs for the processor at hand, or for the named instruction set. Floats become int8 by one
  /// scale a row, largest |w| / 127.
  explicit Matrix(const Weight& weight, Precision precision = Precision::native,
                  std::string_view instructions = {});

  /// Several weights that read the same input, as one matrix [ΣN, K]: one product instead of
  /// several. The input scales must be equal.
  static Matrix stack(std::span<const Weight> weights, Precision precision = Precision::native,
                      std::string_view instructions = {});

  /// Its shape and no numbers: for those who hold these elsewhere.
  static Matrix without_values(int64_t rows, int64_t columns);

  bool defined() const { return rows_ != 0; }
  int64_t rows() const { return rows_; }        ///< N
  int64_t columns() const { return columns_; }  ///< K
  Precision precision() const { return precision_; }
  float input_scale() const { return input_scale_; }
  size_t bytes() const;

  /// Writes other values of the same shapes into an f32 matrix, which all copies of it share;
  /// nobody may be reading.
  void assign(std::span<const Weight> weights);

  /// Row n in single precision, [K]: an embedding of a tied table.
  void row(int64_t n, float* to) const;

  /// Rows `ids` as a matrix of its own [ids, K], for a shortlist shared by many rows and steps.
  Matrix select(std::span<const int32_t> ids) const;

  /// Whether rows can be chosen one by one (candidates): always, but for int8 matrices of fewer
  /// than 2048 rows.
  bool has_plain_rows() const;

  const cpu::Kernels& kernels() const { return *kernels_; }
  const cpu::PackedInt8* int8() const { return int8_.get(); }      ///< null unless int8
  const cpu::PackedFloat* floats() const { return float_.get(); }  ///< null when int8

 private:
  int64_t rows_ = 0, columns_ = 0;
  Precision precision_ = Precision::f32;
  float input_scale_ = 0;
  const cpu::Kernels* kernels_ = nullptr;
  std::shared_ptr<const cpu::PackedInt8> int8_;
  std::shared_ptr<const cpu::PackedFloat> float_;
};

}  // namespace heddle::ops
