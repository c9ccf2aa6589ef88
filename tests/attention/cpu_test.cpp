// Each vectorised CPU row, forced by name, against the definition in double; poison, dead places,
// and equality to the bit over threads and skipping.
#include <cstring>

#include "heddle/attention/cpu/cpu.h"
#include "heddle/attention/cpu/math.h"
#include "heddle/attention/cpu/simd_portable.h"
#include "tests/attention/cpu_rows.h"

namespace heddle {
namespace {

using cases::AttentionCase;
using cases::AttentionProblem;
using cases::Results;
using cases::run;

/// The same bits: also the sign of 0.
void expect_same(const Results& found, const Results& expected, const std::string& name) {
  for (size_t n = 0; n < expected.values.size(); ++n) {
    const auto &a = found.values[n], &b = expected.values[n];
    ASSERT_EQ(a.size(), b.size());
    EXPECT_TRUE(a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof a[0]) == 0)
        << name << ": " << Results::kNames[n];
  }
}

/// Error in units of the last place of a number in f32.
double error_in_ulps(float found, double exact) {
  const auto size = static_cast<float>(std::abs(exact));
  return std::abs(found - exact) / (std::nextafter(size, INFINITY) - size);
}

TEST(Cpu, ElementaryFunctions) {
  using attention::cpu::Portable;
  double exp2_error = 0, tanh_error = 0;
  for (float x = -126; x < 127; x += 0.00917f) {
    const float found = attention::cpu::exp2<Portable>(Portable::set(x))[0];
    exp2_error = std::max(exp2_error, error_in_ulps(found, std::exp2(double{x})));
  }
  for (float x = -12; x < 12; x += 0.00117f) {
    const float found = attention::cpu::tanh<Portable>(Portable::set(x))[0];
    tanh_error = std::max(tanh_error, error_in_ulps(found, std::tanh(double{x})));
  }
  EXPECT_LE(exp2_error, 2.0);
  EXPECT_LE(tanh_error, 2.5);
  EXPECT_EQ(attention::cpu::exp2<Portable>(Portable::set(0))[0], 1.0f);
  EXPECT_EQ(attention::cpu::exp2<Portable>(Portable::set(-INFINITY))[0], 0.0f);
  EXPECT_TRUE(std::isnan(attention::cpu::exp2<Portable>(Portable::set(NAN))[0]));
}

TEST(Cpu, HasARow) { EXPECT_FALSE(cases::cpu_rows().empty()); }

TEST(Cpu, SpecialCases) {
  for (const AttentionCase& c : cases::special_cases()) cases::check_rows(c);
}

// A sample of the product, which cpu_product_test.cpp takes whole.
TEST(Cpu, FamiliesInTurn) {
  constexpr int64_t kLengths[] = {1, 64, 65, 2, 63, 65, 130};
  size_t turn = 0;
  const auto& shapes = cases::head_shapes();
  for (const std::string_view family : masks::family_names()) {
    for (int n = 0; n < 3; ++n, ++turn) {
      const int64_t length = kLengths[turn % std::size(kLengths)];
      cases::check_rows(cases::family_case(family, length, shapes[turn % shapes.size()], turn));
    }
  }
}

TEST(CpuSlow, FamiliesTimesShapes) {
  for (const std::string_view family : masks::family_names()) {
    for (const int64_t length : {1, 2, 63, 64, 65, 300}) {
      for (const auto& shape : cases::head_shapes()) {
        cases::check_rows(cases::family_case(family, length, shape));
      }
    }
  }
}

/// Masks whose tiles are of all kinds.
std::vector<AttentionCase> mixed_cases() {
  std::vector<AttentionCase> list = cases::special_cases();
  for (const std::string_view family : masks::family_names()) {
    list.push_back(cases::family_case(family, 160, {4, 2, 16, 8}));
  }
  return list;
}

TEST(Cpu, SkippingChangesNoBit) {
  for (const AttentionCase& c : mixed_cases()) {
    AttentionProblem problem(c);
    const MaskPlan dense = MaskPlan::without_skipping(
        problem.mask, {attention::cpu::kTileRows, attention::cpu::kTileKeys});
    for (const std::string& row : cases::cpu_rows()) {
      problem.args.plan = nullptr;
      const Results skipping = run(problem, row);
      problem.args.plan = &dense;
      expect_same(run(problem, row), skipping, row + ", " + c.name);
    }
  }
}

// One key/value head and many threads take the backward of two passes, a thread alone that of one.
TEST(Cpu, ThreadsChangeNoBit) {
  ThreadPool two(2), five(5);
  for (const AttentionCase& c : mixed_cases()) {
    AttentionProblem problem(c);
    for (const std::string& row : cases::cpu_rows()) {
      problem.args.threads = nullptr;
      const Results alone = run(problem, row);
      for (ThreadPool* threads : {&two, &five}) {
        problem.args.threads = threads;
        expect_same(run(problem, row), alone, row + ", " + c.name);
      }
    }
  }
}

float* row_of(const Tensor& tensor, int64_t t, int64_t head) {
  return tensor.data<float>() + t * tensor.stride(0) + head * tensor.stride(1);
}

void fill_row(const Tensor& tensor, int64_t t, float value) {
  for (int64_t head = 0; head < tensor.dim(1); ++head) {
    std::fill_n(row_of(tensor, t, head), tensor.dim(2), value);
  }
}

/// The numbers of row t over all heads.
std::vector<float> taken(const Tensor& tensor, int64_t t) {
  std::vector<float> values;
  for (int64_t head = 0; head < tensor.dim(1); ++head) {
    const float* row = row_of(tensor, t, head);
    values.insert(values.end(), row, row + tensor.dim(2));
  }
  return values;
}

void expect_row(const Tensor& tensor, int64_t t, const std::vector<float>& expected,
                const std::string& name) {
  const std::vector<float> found = taken(tensor, t);
  EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0) << name;
}

/// Whether no head of the mask lets the row see the key.
bool hidden(const ColumnMask& mask, int32_t row, int32_t key) {
  for (int32_t head = 0; head < mask.heads(); ++head) {
    if (mask.allowed(head, row, key)) return false;
  }
  return true;
}

/// Poisons all keys that one row does not see: that row's out and d_q must keep every bit.
void check_poisoned_keys(const AttentionCase& c, const std::string& row, int32_t i, float poison) {
  AttentionProblem clean(c), poisoned(c);
  for (int32_t j = 0; j < c.mask.key_length(); ++j) {
    if (!hidden(c.mask, i, j)) continue;
    fill_row(poisoned.args.k, j, j % 2 == 0 ? poison : -poison);
    fill_row(poisoned.args.v, j, j % 3 == 0 ? poison : -poison);
  }
  run(clean, row);
  run(poisoned, row);
  const std::string name = str(row, ", ", c.name, ", row ", i, ", poison ", poison);
  expect_row(poisoned.args.out, i, taken(clean.args.out, i), name + ": out");
  expect_row(poisoned.gradients.d_q, i, taken(clean.gradients.d_q, i), name + ": d_q");
}

/// Poisons all rows that do not see one key: that key's d_k and d_v must keep every bit.
void check_poisoned_rows(const AttentionCase& c, const std::string& row, int32_t j, float poison) {
  AttentionProblem clean(c), poisoned(c);
  for (int32_t i = 0; i < c.mask.query_length(); ++i) {
    if (!hidden(c.mask, i, j)) continue;
    fill_row(poisoned.args.q, i, i % 2 == 0 ? poison : -poison);
    fill_row(poisoned.gradients.d_out, i, i % 3 == 0 ? poison : -poison);
  }
  run(clean, row);
  run(poisoned, row);
  const std::string name = str(row, ", ", c.name, ", key ", j, ", poison ", poison);
  expect_row(poisoned.gradients.d_k, j, taken(clean.gradients.d_k, j), name + ": d_k");
  expect_row(poisoned.gradients.d_v, j, taken(clean.gradients.d_v, j), name + ": d_v");
}

TEST(Cpu, PoisonDoesNotLeak) {
  size_t turn = 0;
  const float poisons[] = {1e4f, 1e30f, INFINITY, NAN};
  for (const std::string_view family : masks::family_names()) {
    const AttentionCase c = cases::family_case(family, 150, {2, 1, 24, 24});
    for (const std::string& row : cases::cpu_rows()) {
      for (const int32_t at : {3, 64, 149}) {
        const float poison = poisons[turn++ % std::size(poisons)];
        check_poisoned_keys(c, row, at, poison);
        check_poisoned_rows(c, row, at, poison);
      }
    }
  }
}

TEST(Cpu, DeadRowsAreZero) {
  AttentionCase c{
      .name = "dead", .mask = masks::valid_rows(130, 130, 70), .heads = 2, .kv_heads = 2};
  c.sinks = true;
  for (const std::string& row : cases::cpu_rows()) {
    AttentionProblem problem(c);
    for (int32_t i = 70; i < 130; ++i) {
      fill_row(problem.args.q, i, NAN);
      fill_row(problem.gradients.d_out, i, NAN);
    }
    const Results results = run(problem, row);
    for (int32_t i = 70; i < 130; ++i) {
      EXPECT_EQ(taken(problem.args.out, i), std::vector<float>(32, 0.0f));
      EXPECT_EQ(taken(problem.gradients.d_q, i), std::vector<float>(32, 0.0f));
      EXPECT_EQ(problem.args.lse.data<float>()[i], -INFINITY);
    }
    for (size_t n = 2; n < results.values.size(); ++n) {
      for (const double value : results.values[n]) ASSERT_TRUE(std::isfinite(value)) << row;
    }
  }
}

template <typename Half>
Tensor narrowed(const Tensor& tensor) {
  Tensor half = Tensor::empty(tensor.shape(), dtype_of<Half>);
  const std::vector<double> numbers = cases::numbers_of<float>(tensor);
  for (size_t i = 0; i < numbers.size(); ++i)
    half.data<Half>()[i] = Half(static_cast<float>(numbers[i]));
  return half;
}

/// 16-bit tensors against the definition on the same tensors: one rounding of the result apart.
template <typename Half>
void check_half(double rounding) {
  const AttentionCase c = cases::family_case("causal-document", 150, {4, 2, 40, 24});
  AttentionProblem problem(c);
  attention::Args& args = problem.args;
  attention::Gradients& gradients = problem.gradients;
  for (Tensor* tensor : {&args.q, &args.k, &args.v, &args.out, &gradients.d_out, &gradients.d_q,
                         &gradients.d_k, &gradients.d_v}) {
    *tensor = narrowed<Half>(*tensor);
  }
  const auto results = [&](std::string_view row) {
    attention::forward(args, row);
    attention::backward(args, gradients, row);
    std::vector<std::vector<float>> values;
    for (const Tensor& tensor : {args.out, gradients.d_q, gradients.d_k, gradients.d_v}) {
      const Half* at = tensor.template data<Half>();
      values.emplace_back();
      for (int64_t i = 0; i < tensor.elements(); ++i)
        values.back().push_back(static_cast<float>(at[i]));
    }
    return values;
  };
  const auto exact = results("reference");
  for (const std::string& row : cases::cpu_rows()) {
    const auto found = results(row);
    for (size_t n = 0; n < exact.size(); ++n) {
      for (size_t i = 0; i < exact[n].size(); ++i) {
        ASSERT_NEAR(found[n][i], exact[n][i], rounding * (std::abs(exact[n][i]) + 1))
            << row << " " << n;
      }
    }
  }
}

TEST(Cpu, HalfPrecisionTensors) {
  check_half<BFloat16>(1.0 / 128);
  check_half<Float16>(1.0 / 512);
}

// There d_out·v and out·d_out are the same sum, added up in the same order.
TEST(Cpu, RowsOfOneKeyHaveNoGradient) {
  for (const int64_t width : {1, 33, 128, 256}) {
    const AttentionCase c{.name = "one key",
                          .mask = masks::causal_document(masks::Lengths(70, 1)),
                          .heads = 4,
                          .kv_heads = 2,
                          .head_dim = width,
                          .value_dim = width};
    for (const std::string& row : cases::cpu_rows()) {
      AttentionProblem problem(c);
      const Results found = run(problem, row);
      for (const size_t gradient : {2, 3}) {  // d_q, d_k
        EXPECT_EQ(cases::largest_size(found.values[gradient]), 0) << row << ", E=" << width;
      }
    }
  }
}

TEST(Cpu, NaNThatIsSeenStays) {
  for (const std::string& row : cases::cpu_rows()) {
    AttentionProblem problem({.name = "nan", .mask = masks::causal(70)});
    fill_row(problem.args.k, 20, NAN);
    run(problem, row);
    EXPECT_FALSE(std::isnan(taken(problem.args.out, 19)[0])) << row;
    EXPECT_TRUE(std::isnan(taken(problem.args.out, 20)[0])) << row;
    EXPECT_TRUE(std::isnan(taken(problem.args.out, 69)[0])) << row;
  }
}

/// Few rows, many keys: whole, grouped beyond 64 rows, windows, dead rows, options.
std::vector<AttentionCase> decode_cases() {
  std::vector<AttentionCase> list;
  const auto add = [&](std::string name, ColumnMask mask,
                       const cases::HeadShape& shape) -> AttentionCase& {
    list.push_back({.name = std::move(name),
                    .mask = std::move(mask),
                    .heads = shape.heads,
                    .kv_heads = shape.kv_heads,
                    .head_dim = shape.head_dim,
                    .value_dim = shape.value_dim});
    return list.back();
  };
  add("1 x 1", masks::full(1, 1), {1, 1, 8, 8});
  add("1 x 1000", masks::full(1, 1000), {8, 8, 64, 64});
  add("1 x 3000, GQA 8", masks::full(1, 3000), {16, 2, 128, 128});
  add("16 x 700, GQA 8", masks::causal_with_offset(16, 700, 684), {16, 2, 64, 64});
  add("5 x 700, GQA 15", masks::causal_with_offset(5, 700, 695), {15, 1, 33, 65});
  add("7 x 300, dead rows", masks::causal_with_offset(7, 300, -3), {2, 1, 64, 64}).sinks = true;
  add("10 x 500 documents", masks::cross_document({3, 0, 7}, {200, 100, 200}), {4, 2, 64, 64});
  add("2 x 333, GQA 2", masks::causal_with_offset(2, 333, 300), {4, 2, 40, 24}).softcap = 7;
  add("3 x 500, odd", masks::causal_with_offset(3, 500, 497), {2, 2, 33, 65}).strided = true;
  add("2 x 300, dead row", masks::causal_with_offset(2, 300, -1), {2, 2, 64, 64}).sinks = true;
  AttentionCase& all =
      add("4 x 600, all options", masks::causal_with_offset(4, 600, 596), {8, 2, 40, 24});
  all.softcap = 10;
  all.sinks = all.alibi = all.strided = true;
  return list;
}

TEST(CpuDecode, AgreesOverInstructionsAndThreads) {
  ThreadPool three(3);
  for (const AttentionCase& c : decode_cases()) {
    AttentionProblem problem(c);
    Results exact = cases::oracle(problem), twin = cases::Twin(problem).results();
    for (const attention::cpu::Kernels* kernels :
         {attention::cpu::avx512_kernels(), attention::cpu::avx2_kernels(),
          attention::cpu::portable_kernels()}) {
      if (kernels == nullptr) continue;
      const auto decoded = [&](ThreadPool* threads) {
        problem.args.threads = threads;
        attention::cpu::decode(problem.args, *kernels);
        Results results = cases::results_of<float>(problem.args, problem.gradients);
        results.values.resize(2);  // out, lse
        return results;
      };
      exact.values.resize(2);
      twin.values.resize(2);
      const Results alone = decoded(nullptr);
      cases::expect_close(alone, twin, exact, str(kernels->lanes, " lanes, ", c.name));
      expect_same(decoded(&three), alone, c.name);
    }
  }
}

/// Row i sees the keys up to 100 + i; poison begins where only the last row looks.
void check_poisoned_decode(int32_t rows, float poison) {
  const AttentionCase c{.name = "decode",
                        .mask = masks::causal_with_offset(rows, 400, 100),
                        .heads = 4,
                        .kv_heads = 2};
  AttentionProblem clean(c), poisoned(c);
  for (int32_t j = 100 + rows - 1; j < 400; ++j) {
    fill_row(poisoned.args.k, j, poison);
    fill_row(poisoned.args.v, j, poison);
  }
  attention::forward(clean.args, "cpu-decode");
  attention::forward(poisoned.args, "cpu-decode");
  for (int32_t i = 0; i + 1 < rows; ++i) {  // the last row sees the first poison
    expect_row(poisoned.args.out, i, taken(clean.args.out, i), str("out, ", rows, " rows"));
  }
}

TEST(CpuDecode, PoisonDoesNotLeak) {
  for (const int32_t rows : {2, 6}) {
    for (const float poison : {1e30f, INFINITY, NAN}) check_poisoned_decode(rows, poison);
  }
}

}  // namespace
}  // namespace heddle
