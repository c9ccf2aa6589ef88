// The whole product: every family × length × group × head dim × (square, fewer rows, fewer keys),
// each CPU row forced by name. Up to 300 tokens every number is held against the definition in
// double. Beyond, places are: rows and keys at the ends, at edges of tiles and at random, other
// ones for each case, against the definition there (attention_samples.h); all numbers must be
// finite. Of the longest, the portable row takes every seventh case: all would take an hour.
#include <algorithm>
#include <cmath>

#include "heddle/mask/algebra.h"
#include "tests/attention/cpu_rows.h"
#include "tests/cases/attention_samples.h"

namespace heddle {
namespace {

using cases::AttentionCase;
using cases::AttentionProblem;

enum class Form { square, fewer_rows, fewer_keys };

ColumnMask last_rows(const ColumnMask& mask, int32_t count) {
  std::vector<int32_t> rows;
  for (int32_t i = mask.query_length() - count; i < mask.query_length(); ++i) rows.push_back(i);
  return masks::select_rows(mask, rows);
}

ColumnMask first_keys(const ColumnMask& mask, int32_t count) {
  MaskParts parts{.query_length = mask.query_length(),
                  .key_length = count,
                  .heads = mask.heads(),
                  .causal = mask.causal(),
                  .offset = mask.offset()};
  for (int32_t head = 0; head < mask.heads(); ++head) {
    for (int32_t key = 0; key < count; ++key) {
      const MaskColumn column = mask.column(head, key);
      parts.lts.push_back(column.lts);
      parts.lte.push_back(column.lte);
      parts.uts.push_back(column.uts);
      parts.ute.push_back(column.ute);
    }
  }
  return ColumnMask(parts);
}

/// Calls check(case) over the product at one length.
template <typename Check>
void for_each_case(int32_t length, const Check& check) {
  uint64_t seed = 0;
  for (const std::string_view family : masks::family_names()) {
    for (const int64_t group : {1, 4, 8}) {
      for (const int64_t head_dim : {16, 40, 64, 128, 256}) {
        for (const Form form : {Form::square, Form::fewer_rows, Form::fewer_keys}) {
          AttentionCase c =
              cases::family_case(family, length, {group, 1, head_dim, head_dim}, ++seed);
          const int32_t part = std::max(length - length / 3 - 1, 1);
          if (form == Form::fewer_rows) c.mask = last_rows(c.mask, part);
          if (form == Form::fewer_keys) c.mask = first_keys(c.mask, part);
          c.name += str(", ", c.mask.query_length(), " x ", c.mask.key_length());
          check(c);
        }
      }
    }
  }
}

bool all_finite(const Tensor& tensor) {
  const float* numbers = tensor.data<float>();  // dense
  return std::all_of(numbers, numbers + tensor.elements(),
                     [](float x) { return std::isfinite(x); });
}

void check_samples(const AttentionCase& c, ThreadPool& threads) {
  AttentionProblem problem(c);
  problem.args.threads = &threads;
  const cases::Places places{cases::sample_places(c.mask.query_length(), 4, c.seed),
                             cases::sample_places(c.mask.key_length(), 4, c.seed + 1)};
  const bool longest = std::max(c.mask.query_length(), c.mask.key_length()) > 2000;
  for (const std::string& row : cases::cpu_rows()) {
    if (row == "cpu-portable" && longest && c.seed % 7 != 0) continue;
    const std::string name = row + ", " + c.name;
    for (const Tensor* tensor : {&problem.args.out, &problem.gradients.d_q, &problem.gradients.d_k,
                                 &problem.gradients.d_v}) {
      std::fill_n(tensor->data<float>(), tensor->elements(), NAN);
    }
    cases::compute(problem, row);
    cases::expect_close(cases::found_samples(problem, places),
                        cases::Samples<float>(problem, places).results(),
                        cases::Samples<double>(problem, places).results(), name);
    EXPECT_TRUE(all_finite(problem.args.out) && all_finite(problem.gradients.d_q) &&
                all_finite(problem.gradients.d_k) && all_finite(problem.gradients.d_v))
        << name;
  }
}

TEST(CpuProductSlow, UpTo300Tokens) {
  for (const int32_t length : {1, 2, 63, 64, 65, 300}) for_each_case(length, cases::check_rows);
}

TEST(CpuProductSlow, Tokens1000) {
  ThreadPool threads(2);
  for_each_case(1000, [&](const AttentionCase& c) { check_samples(c, threads); });
}

TEST(CpuProductSlow, Tokens4097) {
  ThreadPool threads(2);
  for_each_case(4097, [&](const AttentionCase& c) { check_samples(c, threads); });
}

// The samples themselves: with every place sampled they are the definition.
TEST(CpuProduct, SamplesAreTheDefinition) {
  const AttentionCase c = cases::family_case("causal-document", 90, {4, 2, 24, 16});
  AttentionProblem problem(c);
  const cases::Results exact = cases::oracle(problem), twin = cases::Twin(problem).results();
  cases::compute(problem, "reference");
  cases::Places all;
  for (int32_t n = 0; n < 90; ++n) {
    all.rows.push_back(n);
    all.keys.push_back(n);
  }
  const auto sum = [](const std::vector<double>& numbers) {
    double total = 0;
    for (const double x : numbers) total += x * x;
    return total;
  };
  const cases::Results samples = cases::Samples<double>(problem, all).results();
  for (size_t n = 0; n < samples.values.size(); ++n) {
    ASSERT_EQ(samples.values[n].size(), exact.values[n].size());
    EXPECT_NEAR(sum(samples.values[n]), sum(exact.values[n]), 1e-5 * sum(exact.values[n])) << n;
  }
  cases::expect_close(cases::found_samples(problem, all),
                      cases::Samples<float>(problem, all).results(), samples, c.name);
}

}  // namespace
}  // namespace heddle
