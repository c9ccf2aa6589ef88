#include "heddle/ops/matrix.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "heddle/ops/cpu/packed.h"
#include "heddle/ops/cpu/tables.h"

namespace heddle::ops {

namespace {

/// From this many rows on a matrix is taken for a table of tokens: its plain rows are kept, for
/// embeddings and for shortlists.
constexpr int64_t kTableRows = 2048;

void check(const Weight& weight) {
  HEDDLE_CHECK(weight.values.defined() && weight.values.rank() == 2 &&
                   weight.values.is_contiguous() && weight.values.elements() > 0,
               "matrix: found ", weight.values.defined() ? weight.values.shape().text() : "nothing",
               "; expected a contiguous [N, K]");
  const int64_t rows = weight.values.dim(0);
  const DType dtype = weight.values.dtype();
  if (dtype == DType::i8) {
    HEDDLE_CHECK(weight.scales.defined() && weight.scales.dtype() == DType::f32 &&
                     (weight.scales.elements() == rows || weight.scales.elements() == 1),
                 "matrix: int8 weights of ", rows, " rows need f32 scales [", rows, "] or [1]");
  } else {
    HEDDLE_CHECK(dtype == DType::f32 || dtype == DType::f16 || dtype == DType::bf16,
                 "matrix: found ", name_of(dtype), "; expected f32, f16, bf16 or i8");
  }
  HEDDLE_CHECK(weight.input_scale >= 0 && std::isfinite(weight.input_scale), "matrix: input scale ",
               weight.input_scale, "; expected 0 or more");
}

float scale_of(const Weight& weight, int64_t row) {
  return weight.scales.data<float>()[weight.scales.elements() == 1 ? 0 : row];
}

/// Row n of a weight in single precision.
void read_row(const Weight& weight, int64_t n, float* to) {
  const int64_t columns = weight.values.dim(1), at = n * columns;
  const auto convert = [&]<typename T>(const T* from, float factor) {
    for (int64_t k = 0; k < columns; ++k) to[k] = static_cast<float>(from[at + k]) * factor;
  };
  switch (weight.values.dtype()) {
    case DType::i8:
      return convert(weight.values.data<int8_t>(), scale_of(weight, n));
    case DType::f16:
      return convert(weight.values.data<Float16>(), 1.0f);
    case DType::bf16:
      return convert(weight.values.data<BFloat16>(), 1.0f);
    default:
      return convert(weight.values.data<float>(), 1.0f);
  }
}

Precision resolved(Precision precision, DType stored) {
  HEDDLE_CHECK(precision != Precision::f16,
               "precision: found f16 on the processor; expected native, f32, bf16 or int8. "
               "Hint: --device cuda");
  if (precision != Precision::native) return precision;
  if (stored == DType::i8) return Precision::int8;
  return stored == DType::f32 ? Precision::f32 : Precision::bf16;
}

int64_t total_rows(std::span<const Weight> weights) {
  int64_t rows = 0;
  for (const Weight& weight : weights) rows += weight.values.dim(0);
  return rows;
}

template <typename T>
void write_tiles(std::span<const Weight> weights, const cpu::PackedFloat& packed) {
  std::vector<float> row(static_cast<size_t>(packed.columns));
  T* tiles = packed.tiles.data<T>();
  int64_t n = 0;
  for (const Weight& weight : weights) {
    for (int64_t i = 0; i < weight.values.dim(0); ++i, ++n) {
      read_row(weight, i, row.data());
      T* to = tiles + n / cpu::kTile * packed.columns * cpu::kTile + n % cpu::kTile;
      for (size_t k = 0; k < row.size(); ++k) to[k * cpu::kTile] = T(row[k]);
    }
  }
}

template <typename T>
std::shared_ptr<const cpu::PackedFloat> pack_floats(std::span<const Weight> weights) {
  auto packed = std::make_shared<cpu::PackedFloat>();
  packed->rows = total_rows(weights);
  packed->columns = weights[0].values.dim(1);
  packed->tiles = Tensor::zeros({packed->tile_count(), packed->columns, cpu::kTile}, dtype_of<T>);
  write_tiles<T>(weights, *packed);
  return packed;
}

/// Values [N, K] in 8 bits: one source's own where that is what there is, else a copy.
Tensor int8_values(std::span<const Weight> weights, std::vector<float>& scales) {
  const int64_t columns = weights[0].values.dim(1);
  const bool own = weights.size() == 1 && weights[0].values.dtype() == DType::i8;
  Tensor all = own ? weights[0].values : Tensor::empty({total_rows(weights), columns}, DType::i8);
  int8_t* to = all.data<int8_t>();
  std::vector<float> row(static_cast<size_t>(columns));
  for (const Weight& weight : weights) {
    for (int64_t n = 0; n < weight.values.dim(0); ++n, to += columns) {
      if (weight.values.dtype() == DType::i8) {
        scales.push_back(scale_of(weight, n));
        const int8_t* from = weight.values.data<int8_t>() + n * columns;
        if (!own) std::copy(from, from + columns, to);
        continue;
      }
      read_row(weight, n, row.data());
      float largest = 0;
      for (const float value : row) largest = std::max(largest, std::abs(value));
      HEDDLE_CHECK(std::isfinite(largest), "matrix: row ", n, " holds ", largest,
                   "; expected finite weights");
      scales.push_back(largest / 127);
      const float inverse = largest > 0 ? 127 / largest : 0;
      for (int64_t k = 0; k < columns; ++k) {
        to[k] = static_cast<int8_t>(std::nearbyint(row[static_cast<size_t>(k)] * inverse));
      }
    }
  }
  return all;
}

}  // namespace

Precision precision_named(std::string_view name, std::string_view option) {
  if (name == "native") return Precision::native;
  if (name == "f32") return Precision::f32;
  if (name == "bf16") return Precision::bf16;
  if (name == "f16") return Precision::f16;
  HEDDLE_CHECK(name == "int8", option, ": found '", name,
               "'; expected native, f32, bf16, int8, or f16 on a GPU");
  return Precision::int8;
}

Matrix::Matrix(const Weight& weight, Precision precision, std::string_view instructions)
    : Matrix(stack({&weight, 1}, precision, instructions)) {}

Matrix Matrix::without_values(int64_t rows, int64_t columns) {
  Matrix made;
  made.rows_ = rows;
  made.columns_ = columns;
  return made;
}

Matrix Matrix::stack(std::span<const Weight> weights, Precision precision,
                     std::string_view instructions) {
  HEDDLE_CHECK(!weights.empty(), "matrix: found no weights to stack");
  for (const Weight& weight : weights) {
    check(weight);
    HEDDLE_CHECK(weight.values.dim(1) == weights[0].values.dim(1), "matrix: stacked weights read ",
                 weight.values.dim(1), " and ", weights[0].values.dim(1), " inputs");
    HEDDLE_CHECK(weight.input_scale == weights[0].input_scale,
                 "matrix: stacked weights have input scales ", weight.input_scale, " and ",
                 weights[0].input_scale);
  }
  Matrix matrix;
  matrix.rows_ = total_rows(weights);
  matrix.columns_ = weights[0].values.dim(1);
  matrix.precision_ = resolved(precision, weights[0].values.dtype());
  matrix.kernels_ = &cpu::kernels_for(instructions);
  if (matrix.precision_ == Precision::f32) {
    matrix.float_ = pack_floats<float>(weights);
  } else if (matrix.precision_ == Precision::bf16) {
    matrix.float_ = pack_floats<BFloat16>(weights);
  } else {
    matrix.input_scale_ = weights[0].input_scale;
    std::vector<float> scales;
    const Tensor values = int8_values(weights, scales);
    const bool from_relu = std::ranges::all_of(weights, &Weight::from_relu);
    matrix.int8_ = cpu::pack_int8(values, scales, matrix.rows_ >= kTableRows,
                                  matrix.kernels_->pair_sums, from_relu);
  }
  return matrix;
}

void Matrix::assign(std::span<const Weight> weights) {
  HEDDLE_CHECK(float_ != nullptr && precision_ == Precision::f32, "matrix: assign to ",
               defined() ? "a matrix that is not f32" : "nothing", "; expected one of f32");
  for (const Weight& weight : weights) check(weight);
  HEDDLE_CHECK(total_rows(weights) == rows_ && weights[0].values.dim(1) == columns_,
               "matrix: assign [", total_rows(weights), ", ", weights[0].values.dim(1), "] to [",
               rows_, ", ", columns_, "]; expected the same shape");
  write_tiles<float>(weights, *float_);
}

size_t Matrix::bytes() const {
  size_t bytes = 0;
  const auto add = [&](const Tensor& tensor) {
    if (tensor.defined()) bytes += static_cast<size_t>(tensor.elements()) * size_of(tensor.dtype());
  };
  if (float_ != nullptr) add(float_->tiles);
  if (int8_ != nullptr) {
    for (const Tensor& tensor : {int8_->tiles, int8_->scales, int8_->sums, int8_->plain}) {
      add(tensor);
    }
    if (int8_->clipped != nullptr) bytes += int8_->clipped->centres.size() * sizeof(uint16_t);
    if (int8_->grouped != nullptr) bytes += int8_->grouped->limits.size();
  }
  return bytes;
}

bool Matrix::has_plain_rows() const { return int8_ == nullptr || int8_->plain.defined(); }

void Matrix::row(int64_t n, float* to) const {
  HEDDLE_CHECK(n >= 0 && n < rows_, "matrix: row ", n, " of ", rows_);
  if (int8_ != nullptr) return cpu::read_row(*int8_, n, to);
  const auto copy = [&]<typename T>(const T* tile) {
    for (int64_t k = 0; k < columns_; ++k) {
      to[k] = static_cast<float>(tile[k * cpu::kTile + n % cpu::kTile]);
    }
  };
  if (precision_ == Precision::f32) {
    copy(float_->tile<float>(n / cpu::kTile));
  } else {
    copy(float_->tile<BFloat16>(n / cpu::kTile));
  }
}

Matrix Matrix::select(std::span<const int32_t> ids) const {
  HEDDLE_CHECK(defined() && !ids.empty(), "matrix: found no rows to select");
  Matrix chosen = *this;
  chosen.rows_ = static_cast<int64_t>(ids.size());
  for (const int32_t id : ids) {
    HEDDLE_CHECK(id >= 0 && id < rows_, "matrix: row ", id, " of ", rows_);
  }
  if (int8_ != nullptr) {
    chosen.int8_ = cpu::select_rows(*int8_, ids);
  } else {
    chosen.float_ = cpu::select_rows(*float_, ids);
  }
  return chosen;
}

}  // namespace heddle::ops
