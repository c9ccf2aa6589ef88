// Products of codes: integers summed without an error, whatever the weights and codes are, hence
// the same bits from every instruction set and for any number of rows.
#include "heddle/ops/cpu/packed.h"
#include "tests/ops/cases.h"

namespace heddle::ops {
namespace {

using namespace cases;

enum class Kind { trained, by_row, uneven, extreme, positive, pairs };

/// Weights that reach each way of adding: clipped or not, groups that fit 16 bits or do not.
Weight weight_of(Kind kind, int64_t rows, int64_t columns, float input_scale, uint64_t seed) {
  Weight weight{.values = Tensor::empty({rows, columns}, DType::i8),
                .scales = Tensor::empty({rows}, DType::f32),
                .input_scale = input_scale};
  Random random(seed);
  int8_t* values = weight.values.data<int8_t>();
  for (int64_t i = 0; i < weight.values.elements(); ++i) {
    const bool large = kind == Kind::by_row || (kind == Kind::uneven && i % columns % 48 < 8);
    double value = random.normal() * (large ? 43 : 18);
    if (kind == Kind::uneven && i % 15000 < 16) value = -127;  // groups that do not fit
    if (kind == Kind::extreme) value = random.below(2) == 0 ? -127 : 127;
    if (kind == Kind::positive) value = 127;
    if (kind == Kind::pairs && random.below(700) == 0) value = 127;  // a few to be clipped
    values[i] = static_cast<int8_t>(std::clamp(value, -127.0, 127.0));
  }
  if (kind == Kind::pairs && columns > 1) values[0] = values[1] = -127;
  for (int64_t n = 0; n < rows; ++n) {
    weight.scales.data<float>()[n] = 0.001f * static_cast<float>(1 + n % 5);
  }
  return weight;
}

enum class CodeKind { normal, positive, outliers, uniform, signs, most, least };

/// Codes that are clipped nowhere, here and there, and nearly everywhere.
Rows codes_of(CodeKind kind, int64_t count, int64_t columns, Workspace& workspace) {
  Rows x(count, columns, workspace);
  const int zero = kind == CodeKind::positive ? 0 : 127;
  uint8_t* to = x.fill_codes(1.0f, zero, true);
  const int64_t stride = x.codes(1.0f, workspace).stride;
  Random random(17);
  for (int64_t i = 0; i < count * stride; ++i) {
    double code = random.normal() * 40;
    if (kind == CodeKind::positive) code = std::abs(code);
    if (kind == CodeKind::outliers) code = random.below(90) == 0 ? 127 : code / 10;
    if (kind == CodeKind::uniform) code = static_cast<double>(random.below(255)) - 127;
    if (kind == CodeKind::signs) code = random.below(2) == 0 ? -127 : 127;
    if (kind == CodeKind::most) code = 127;
    if (kind == CodeKind::least) code = -127;
    to[i] = static_cast<uint8_t>(zero + static_cast<int>(std::clamp(code, -127.0, 127.0)));
  }
  return x;
}

/// The plain twin in the order of roundings that linear.h promises.
std::vector<float> expected_product(const Weight& weight, Rows& x, const Epilogue& epilogue,
                                    Workspace& workspace) {
  const Codes codes = x.codes(weight.input_scale, workspace);
  const int64_t rows = weight.values.dim(0), columns = weight.values.dim(1);
  std::vector<float> y;
  for (int64_t r = 0; r < x.count(); ++r) {
    for (int64_t n = 0; n < rows; ++n) {
      int64_t sum = 0;
      for (int64_t k = 0; k < columns; ++k) {
        const int code = codes.data[r * codes.stride + k] - codes.zero;
        sum += code * weight.values.data<int8_t>()[n * columns + k];
      }
      const float step = codes.steps != nullptr ? codes.steps[r] : codes.step;
      volatile float value = static_cast<float>(static_cast<int32_t>(sum));
      value = value * (weight.scales.data<float>()[n] * step);
      if (epilogue.bias != nullptr) value = value + epilogue.bias[n];
      if (epilogue.activation == Activation::relu) value = value > 0 ? value : 0.0f;
      if (epilogue.residual != nullptr) value = value + epilogue.residual->row(r)[n];
      y.push_back(static_cast<float>(value));
    }
  }
  return y;
}

struct Sizes {
  int64_t count, columns, rows;
};
constexpr Sizes kSizes[] = {{1, 256, 64}, {2, 256, 48}, {3, 33, 17},   {7, 64, 100}, {5, 1, 1},
                            {4, 31, 16},  {66, 96, 31}, {130, 40, 20}, {9, 1536, 32}};

TEST(Int8, EveryInstructionSetGivesTheSameBits) {
  for (const Kind kind :
       {Kind::trained, Kind::by_row, Kind::uneven, Kind::extreme, Kind::positive, Kind::pairs}) {
    for (const Sizes& size : kSizes) {
      for (const float step : {0.0f, 1 / 16.0f}) {
        const Weight weight = weight_of(kind, size.rows, size.columns, step, 11);
        const std::vector<float> bias = normal_values(size.rows, 1, 2);
        for (const std::string& name : instruction_sets()) {
          Workspace workspace(name);
          const Matrix matrix(weight, Precision::native, name);
          Rows x = rows_of(normal_values(size.count * size.columns, 2, 3), size.count, workspace);
          // A few large ones: groups that do not fit 16 bits.
          for (int64_t r = 0; r < size.count; r += 3) {
            for (int64_t k = 0; k < std::min<int64_t>(40, size.columns); ++k) x.row(r)[k] = 9;
          }
          Rows residual =
              rows_of(normal_values(size.count * size.rows, 1, 4), size.count, workspace);
          Rows y(size.count, size.rows, workspace);
          const Epilogue epilogue{
              .bias = bias.data(), .activation = Activation::relu, .residual = &residual};
          linear(x, matrix, epilogue, y, workspace);
          expect_same_bits(values_of(y), expected_product(weight, x, epilogue, workspace),
                           str(name, ", kind ", static_cast<int>(kind), ", [", size.count, ", ",
                               size.columns, "] x [", size.rows, "], step ", step));
        }
      }
    }
  }
}

TEST(Int8, ExtremeCodes) {
  for (const std::string& name : instruction_sets()) {
    for (const Kind kind : {Kind::extreme, Kind::positive}) {
      for (const float sign : {1.0f, -1.0f}) {
        Workspace workspace(name);
        const Weight weight = weight_of(kind, 20, 2048, 1.0f, 5);
        const Matrix matrix(weight, Precision::native, name);
        Rows x = rows_of(std::vector<float>(3 * 2048, 1e6f * sign), 3, workspace);
        Rows y(3, 20, workspace);
        linear(x, matrix, {}, y, workspace);
        expect_same_bits(values_of(y), expected_product(weight, x, {}, workspace), name);
      }
    }
  }
}

TEST(Int8, CodesOfEachKind) {
  for (const std::string& name : instruction_sets()) {
    for (const Kind kind : {Kind::trained, Kind::by_row, Kind::uneven, Kind::extreme}) {
      for (const CodeKind codes :
           {CodeKind::normal, CodeKind::positive, CodeKind::outliers, CodeKind::uniform,
            CodeKind::signs, CodeKind::most, CodeKind::least}) {
        for (const Sizes& size : {Sizes{1, 512, 16}, Sizes{3, 37, 5}, Sizes{38, 1100, 35}}) {
          for (const bool from_relu : {false, true}) {
            Workspace workspace(name);
            Weight weight = weight_of(kind, size.rows, size.columns, 1.0f, 13);
            weight.from_relu = from_relu;
            const Matrix matrix(weight, Precision::native, name);
            Rows x = codes_of(codes, size.count, size.columns, workspace);
            Rows y(size.count, size.rows, workspace);
            linear(x, matrix, {}, y, workspace);
            expect_same_bits(
                values_of(y), expected_product(weight, x, {}, workspace),
                str(name, ", kind ", static_cast<int>(kind), ", codes ", static_cast<int>(codes),
                    ", ", size.count, " rows", from_relu ? ", said to be positive" : ""));
          }
        }
      }
    }
  }
}

/// Trained weights are clipped, those with many large neighbours are not. Small ones are added in
/// 16 bits whatever the codes.
TEST(Int8, WaysOfPacking) {
  for (const std::string& name : instruction_sets()) {
    if (name != "avx2") continue;
    for (const bool from_relu : {false, true}) {
      const auto packed = [&](Kind kind) {
        Weight weight = weight_of(kind, 64, 512, 1, 13);
        weight.from_relu = from_relu;
        return Matrix(weight, Precision::native, name);
      };
      for (const Kind kind : {Kind::trained, Kind::pairs}) {
        const Matrix matrix = packed(kind);
        EXPECT_NE(matrix.int8()->clipped, nullptr);
        EXPECT_EQ(matrix.int8()->grouped, nullptr);
      }
      for (const Kind kind : {Kind::by_row, Kind::uneven, Kind::extreme}) {
        const Matrix matrix = packed(kind);
        EXPECT_EQ(matrix.int8()->clipped, nullptr);
        ASSERT_NE(matrix.int8()->grouped, nullptr);
        EXPECT_EQ(matrix.int8()->grouped->moved, !from_relu);
        const int groups = from_relu ? 16 : 32;  // of a slice of 128 quads
        for (size_t i = 0; i < matrix.int8()->grouped->limits.size(); ++i) {
          const bool none = i % 32 >= static_cast<size_t>(groups);
          EXPECT_EQ(matrix.int8()->grouped->limits[i] == 0, none);
        }
      }
    }
  }
}

/// The second half of an FFN reads codes that the first half wrote: as if they were made from its
/// values.
TEST(Int8, NextCodes) {
  const Weight up = weight_of(Kind::trained, 100, 64, 0.1f, 1);
  const Weight down = weight_of(Kind::pairs, 33, 100, 0.02f, 2);
  const std::vector<float> bias = normal_values(100, 0.3, 3);
  for (const std::string& name : instruction_sets()) {
    for (const Activation activation : {Activation::relu, Activation::silu}) {
      for (const bool only_codes : {false, true}) {
        Workspace workspace(name);
        const Matrix first(up, Precision::native, name), second(down, Precision::native, name);
        Rows x = rows_of(normal_values(7 * 64, 1, 4), 7, workspace);
        Rows hidden(7, 100, workspace), plain(7, 100, workspace), y(7, 33, workspace);
        Rows expected(7, 33, workspace);
        linear(x, first, {.bias = bias.data(), .activation = activation}, plain, workspace);
        linear(plain, second, {}, expected, workspace);
        linear(x, first, {bias.data(), activation, nullptr, {0.02f, only_codes}}, hidden,
               workspace);
        EXPECT_EQ(hidden.has_values(), !only_codes);
        linear(hidden, second, {}, y, workspace);
        expect_same_bits(values_of(y), values_of(expected), name);
        if (!only_codes) expect_same_bits(values_of(hidden), values_of(plain), name);
      }
    }
  }
}

TEST(Int8, ARowDoesNotDependOnTheOthers) {
  for (const std::string& name : instruction_sets()) {
    Workspace workspace(name);
    for (const Kind kind : {Kind::pairs, Kind::by_row}) {
      const float step = kind == Kind::pairs ? 0.1f : 0.0f;
      const Matrix matrix(weight_of(kind, 70, 96, step, 6), Precision::native, name);
      const std::vector<float> values = normal_values(101 * 96, 1.5, 7);
      Rows x = rows_of(values, 101, workspace), y(101, 70, workspace);
      linear(x, matrix, {}, y, workspace);
      for (const int64_t r : {0, 1, 50, 63, 64, 99, 100}) {
        Rows one(x.row(r), 1, 96, 96, workspace), its(1, 70, workspace);
        linear(one, matrix, {}, its, workspace);
        expect_same_bits(values_of(its), {y.row(r), y.row(r) + 70}, name);
      }
    }
  }
}

TEST(Int8, EachNumberOfRows) {
  for (const std::string& name : instruction_sets()) {
    Workspace workspace(name);
    const Weight weight = weight_of(Kind::by_row, 40, 100, 0, 6);
    const Matrix matrix(weight, Precision::native, name);
    for (int64_t count = 1; count <= 40; ++count) {
      Rows x = rows_of(normal_values(count * 100, 1, 8), count, workspace);
      Rows y(count, 40, workspace);
      linear(x, matrix, {}, y, workspace);
      expect_same_bits(values_of(y), expected_product(weight, x, {}, workspace),
                       str(name, ", ", count, " rows"));
    }
  }
}

TEST(Int8, Codes) {
  for (const std::string& name : instruction_sets()) {
    Workspace workspace(name);
    const float inf = std::numeric_limits<float>::infinity();
    const float nan = std::numeric_limits<float>::quiet_NaN();
    const std::vector<float> values = {0,      0.5f,   1.5f, 2.5f, -0.5f, -1.5f,
                                       126.4f, 126.6f, 127,  128,  1e30f, -127.6f,
                                       -1e30f, inf,    -inf, nan,  -3};
    const std::vector<int> expected = {0,   0,   2,    2,    0,   -2,   126, 127, 127,
                                       127, 127, -127, -127, 127, -127, 127, -3};
    Rows x = rows_of(values, 1, workspace);
    const Codes& codes = x.codes(1.0f, workspace);
    EXPECT_EQ(codes.zero, 127);
    for (size_t k = 0; k < values.size(); ++k) {
      EXPECT_EQ(codes.data[k] - 127, expected[k]) << name << ": " << values[k];
    }
    for (int64_t k = 17; k < codes.stride; ++k) EXPECT_EQ(codes.data[k], 127);
    Rows zeros = rows_of({0, 0, 0}, 1, workspace);
    EXPECT_EQ(zeros.codes(0, workspace).data[1], 127);
    EXPECT_EQ(zeros.codes(0, workspace).steps[0], 0.0f);
  }
}

TEST(Int8, RowsComeBackAsTheyWere) {
  for (const std::string& name : instruction_sets()) {
    for (const Kind kind : {Kind::pairs, Kind::extreme, Kind::by_row, Kind::trained}) {
      for (const int64_t rows : {33, 2100}) {  // without plain rows, and with
        const Weight weight = weight_of(kind, rows, 37, 1, 8);
        const Matrix matrix(weight, Precision::native, name);
        const std::vector<int32_t> ids = {0, 5, 16, 31, 32};
        const Matrix chosen = matrix.select(ids);
        for (size_t i = 0; i < ids.size(); ++i) {
          std::vector<float> row(37), again(37), exact;
          matrix.row(ids[i], row.data());
          chosen.row(static_cast<int64_t>(i), again.data());
          for (int64_t k = 0; k < 37; ++k) {
            exact.push_back(weight.values.data<int8_t>()[ids[i] * 37 + k] *
                            weight.scales.data<float>()[ids[i]]);
          }
          expect_same_bits(row, exact, name);
          expect_same_bits(again, exact, name);
        }
        Workspace workspace(name);
        Rows x = rows_of(normal_values(3 * 37, 20, 9), 3, workspace);
        Rows all(3, rows, workspace), some(3, 5, workspace);
        linear(x, matrix, {}, all, workspace);
        linear(x, chosen, {}, some, workspace);
        for (int64_t r = 0; r < 3; ++r) {
          for (size_t i = 0; i < ids.size(); ++i) {
            EXPECT_EQ(some.row(r)[i], all.row(r)[ids[i]]) << name;
          }
        }
      }
    }
  }
}

TEST(Int8, StackedWeights) {
  for (const std::string& name : instruction_sets()) {
    Workspace workspace(name);
    const std::vector<Weight> weights = {weight_of(Kind::trained, 20, 48, 0.1f, 1),
                                         weight_of(Kind::pairs, 13, 48, 0.1f, 2)};
    const Matrix stacked = Matrix::stack(weights, Precision::native, name);
    Rows x = rows_of(normal_values(5 * 48, 1, 3), 5, workspace), y(5, 33, workspace);
    linear(x, stacked, {}, y, workspace);
    int64_t first = 0;
    for (const Weight& weight : weights) {
      const int64_t rows = weight.values.dim(0);
      Rows its(5, rows, workspace);
      linear(x, Matrix(weight, Precision::native, name), {}, its, workspace);
      expect_same_bits(values_of(y.columns(first, first + rows, workspace)), values_of(its), name);
      first += rows;
    }
  }
}

TEST(Int8, Errors) {
  Workspace workspace;
  const Weight weight = weight_of(Kind::trained, 4, 8, 1, 1);
  const Matrix matrix(weight);
  Rows x(2, 9, workspace), y(2, 4, workspace);
  EXPECT_THROW(linear(x, matrix, {}, y, workspace), Error);
  EXPECT_THROW(linear(x, Matrix(), {}, y, workspace), Error);
  EXPECT_THROW(Matrix(Weight{weight.values}), Error);
  EXPECT_THROW(matrix.select(std::vector<int32_t>{4}), Error);
  EXPECT_THROW(Workspace("sse9"), Error);
  Weight other = weight;
  other.input_scale = 2;
  EXPECT_THROW(Matrix::stack(std::vector<Weight>{weight, other}), Error);
  Rows only(2, 8, workspace);
  std::fill_n(only.fill_codes(1.0f, 127, true), 2 * 64, uint8_t{127});
  EXPECT_NO_THROW(linear(only, matrix, {}, y, workspace));
  EXPECT_THROW(linear(only, Matrix(weight, Precision::f32), {}, y, workspace), Error);
}

}  // namespace
}  // namespace heddle::ops
