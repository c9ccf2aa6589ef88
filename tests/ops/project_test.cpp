// The fused choice of tokens against logits that are stored and sorted.
#include "heddle/ops/project.h"

#include <numeric>

#include "tests/ops/cases.h"

namespace heddle::ops {
namespace {

using namespace cases;

struct Problem {
  Weight weight;
  std::vector<float> bias, x;
  int64_t count, columns, vocabulary;
};

Problem make_problem(bool int8, int64_t count, int64_t vocabulary) {
  constexpr int64_t kColumns = 40;
  Problem problem{
      .weight = {tensor_of(normal_values(vocabulary * kColumns, 0.3, 1), {vocabulary, kColumns})},
      .bias = normal_values(vocabulary, 1, 2),
      .x = normal_values(count * kColumns, 1, 3),
      .count = count,
      .columns = kColumns,
      .vocabulary = vocabulary};
  if (int8) {
    Tensor values = Tensor::empty({vocabulary, kColumns}, DType::i8);
    for (int64_t i = 0; i < values.elements(); ++i) {
      const float value = problem.weight.values.data<float>()[i] * 60;
      values.data<int8_t>()[i] = static_cast<int8_t>(std::clamp(value, -127.0f, 127.0f));
    }
    problem.weight = {values, tensor_of({0.01f}, {1}), 0.05f};
    // Equal logits far apart: ties.
    for (int64_t k = 0; k < kColumns; ++k) {
      values.data<int8_t>()[(vocabulary - 1) * kColumns + k] =
          values.data<int8_t>()[3 * kColumns + k];
    }
    problem.bias.back() = problem.bias[3] = 30;
  }
  return problem;
}

struct Found {
  std::vector<int32_t> ids;
  std::vector<float> logits, log_sums;
};

Found found(const Problem& problem, const std::string& name, Projection projection, int64_t k) {
  Workspace workspace(name);
  const Matrix matrix(problem.weight, Precision::native, name);
  projection.weight = &matrix;
  projection.bias = problem.bias.data();
  Rows x = rows_of(problem.x, problem.count, workspace);
  const auto size = static_cast<size_t>(problem.count * k);
  Found result{std::vector<int32_t>(size), std::vector<float>(size),
               std::vector<float>(static_cast<size_t>(problem.count))};
  top_k(x, projection, k, {result.ids.data(), result.logits.data(), result.log_sums.data()},
        workspace);
  return result;
}

/// Sorted by logit, then by id, from logits that linear stores.
Found expected(const Problem& problem, const std::string& name, const Projection& projection,
               int64_t k) {
  Workspace workspace(name);
  const Matrix matrix(problem.weight, Precision::native, name);
  Rows x = rows_of(problem.x, problem.count, workspace);
  Rows logits(problem.count, problem.vocabulary, workspace);
  linear(x, matrix, {.bias = problem.bias.data()}, logits, workspace);
  Found result;
  for (int64_t r = 0; r < problem.count; ++r) {
    const auto list = [&](const IdLists& lists) {
      const size_t n = lists.offsets.size() == 2 ? 0 : static_cast<size_t>(r);
      return lists.given() ? std::vector<int32_t>(lists.ids.begin() + lists.offsets[n],
                                                  lists.ids.begin() + lists.offsets[n + 1])
                           : std::vector<int32_t>();
    };
    std::vector<int32_t> ids = list(projection.candidates);
    const std::vector<int32_t> banned = list(projection.banned);
    if (!projection.candidates.given()) {
      ids.resize(static_cast<size_t>(problem.vocabulary));
      std::iota(ids.begin(), ids.end(), 0);
    }
    std::erase_if(ids, [&](int32_t id) {
      return std::find(banned.begin(), banned.end(), id) != banned.end();
    });
    const float* row = logits.row(r);
    double sum = 0;
    for (const int32_t id : ids) sum += std::exp(static_cast<double>(row[id]));
    std::stable_sort(ids.begin(), ids.end(), [&](int32_t a, int32_t b) { return row[a] > row[b]; });
    for (size_t i = 0; i < static_cast<size_t>(k); ++i) {
      result.ids.push_back(i < ids.size() ? ids[i] : -1);
      result.logits.push_back(i < ids.size() ? row[ids[i]]
                                             : -std::numeric_limits<float>::infinity());
    }
    result.log_sums.push_back(static_cast<float>(std::log(sum)));
  }
  return result;
}

void check(const Problem& problem, const Projection& projection, const std::string& what) {
  for (const std::string& name : instruction_sets()) {
    for (const int64_t k : {1, 4, 64}) {
      const Found right = expected(problem, name, projection, k);
      const Found its = found(problem, name, projection, k);
      EXPECT_EQ(its.ids, right.ids) << what << ", " << name << ", k = " << k;
      expect_same_bits(its.logits, right.logits, what + ", " + name);
      for (size_t r = 0; r < right.log_sums.size(); ++r) {
        if (std::isinf(right.log_sums[r])) {
          EXPECT_EQ(its.log_sums[r], right.log_sums[r]);
        } else {
          EXPECT_NEAR(its.log_sums[r], right.log_sums[r], 1e-5) << what << ", " << name;
        }
      }
    }
  }
}

class ProjectTest : public testing::TestWithParam<bool> {};

TEST_P(ProjectTest, AllTokens) {
  check(make_problem(GetParam(), 5, 2100), {}, "all");
  check(make_problem(GetParam(), 1, 19), {}, "a small vocabulary");
}

TEST_P(ProjectTest, BannedTokens) {
  const Problem problem = make_problem(GetParam(), 3, 2100);
  const std::vector<int32_t> ids = {0, 3, 257, 2099, 5};
  const std::vector<int32_t> offsets = {0, 4, 4, 5}, shared = {0, 4};
  check(problem, {.banned = {ids, offsets}}, "banned");
  check(problem, {.banned = {ids, shared}}, "banned for all");
}

TEST_P(ProjectTest, CandidatesOfEachRow) {
  const Problem problem = make_problem(GetParam(), 4, 2100);
  std::vector<int32_t> ids, offsets = {0};
  Random random(4);
  for (const int step : {2, 9, 400}) {
    for (int32_t id = step - 2; id < 2100; id += 1 + static_cast<int32_t>(random.below(step))) {
      ids.push_back(id);
    }
    offsets.push_back(static_cast<int32_t>(ids.size()));
  }
  offsets.push_back(offsets.back());  // the last row may choose nothing
  check(problem, {.candidates = {ids, offsets}}, "candidates");
  const std::vector<int32_t> banned = {0, 3, 4, 1000, 2099}, shared = {0, 5};
  check(problem, {.candidates = {ids, offsets}, .banned = {banned, shared}}, "candidates, banned");
  const std::vector<int32_t> one_list = {0, 300};
  check(problem, {.candidates = {ids, one_list}}, "candidates for all");
}

TEST_P(ProjectTest, SelectedRowsStandForTokens) {
  const Problem problem = make_problem(GetParam(), 3, 2100);
  const std::vector<int32_t> tokens = {1, 3, 50, 51, 700, 1999, 2099}, offsets = {0, 7};
  const std::vector<int32_t> banned = {2, 3, 51, 2000}, banned_offsets = {0, 4};
  for (const std::string& name : instruction_sets()) {
    Workspace workspace(name);
    const Matrix all(problem.weight, Precision::native, name), some = all.select(tokens);
    std::vector<float> bias;
    for (const int32_t token : tokens) bias.push_back(problem.bias[static_cast<size_t>(token)]);
    Rows x = rows_of(problem.x, problem.count, workspace);
    std::vector<int32_t> ids(6);
    top_k(x, {&some, bias.data(), tokens, {}, {banned, banned_offsets}}, 2, {ids.data()},
          workspace);
    const Projection same{.candidates = {tokens, offsets}, .banned = {banned, banned_offsets}};
    EXPECT_EQ(ids, expected(problem, name, same, 2).ids) << name;
  }
}

TEST_P(ProjectTest, NanIsNeverChosen) {
  Problem problem = make_problem(GetParam(), 2, 30);
  for (float& bias : problem.bias) bias = std::numeric_limits<float>::quiet_NaN();
  problem.bias[7] = -50;
  for (const std::string& name : instruction_sets()) {
    const Found its = found(problem, name, {}, 2);
    EXPECT_EQ(its.ids, (std::vector<int32_t>{7, -1, 7, -1})) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Weights, ProjectTest, testing::Bool(),
                         [](const auto& test) { return test.param ? "Int8" : "F32"; });

}  // namespace
}  // namespace heddle::ops
