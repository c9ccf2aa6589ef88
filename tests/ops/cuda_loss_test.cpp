// The GPU's loss and optimiser against their definitions, and the loss against the CPU's.
#include <algorithm>
#include <limits>

#include "heddle/ops/cross_entropy.h"
#include "tests/ops/cuda_rows.h"

namespace heddle::ops::cuda {
namespace {

using Results = std::vector<std::vector<float>>;

struct LossCase {
  HostRows logits;
  std::vector<int32_t> labels, ids;
  std::vector<float> weights, logs;
  double smoothing = 0, z_loss = 0, lambda = 0, scale = 1;
  int64_t choices = 0;
  std::string name;
};

LossCase loss_case(int64_t rows, int64_t vocabulary, int turn) {
  Random random(static_cast<uint64_t>(turn) + 1);
  LossCase c;
  c.logits = random_rows(rows, vocabulary, static_cast<uint64_t>(turn), 4);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t label = r % 4 == 1 ? vocabulary - 1 : random.between(0, vocabulary - 1);
    c.labels.push_back(r % 5 == 3 ? -1 : static_cast<int32_t>(label));
    if (turn % 2 == 1) c.weights.push_back(r % 7 == 2 ? 0 : static_cast<float>(random.uniform()));
    if (r % 3 == 0 && label >= 0) c.logits.row(r)[label] = 40;  // some guesses are right
  }
  if (turn % 3 > 0) c.smoothing = 0.1;
  if (turn % 4 > 1) c.z_loss = 0.01;
  c.scale = turn % 2 == 0 ? 1 : 0.37;
  if (turn % 5 > 2) {
    c.lambda = turn % 5 == 3 ? 0.6 : 1;
    c.choices = turn % 5 == 3 ? 5 : 40;
    for (int64_t i = 0; i < rows * c.choices; ++i) {
      const bool none = i % 6 == 5 || i / c.choices == 4;  // the fifth row has no teacher at all
      c.ids.push_back(none ? -1 : static_cast<int32_t>(random.between(0, vocabulary - 1)));
      if (i % c.choices == 0 && !none) {
        c.ids.back() = std::max(c.labels[static_cast<size_t>(i / c.choices)], 0);
      }
      if (i % c.choices == 2 && !none) c.ids.back() = c.ids[c.ids.size() - 2];  // named twice
      const bool never = i % 11 == 3;
      c.logs.push_back(never ? -std::numeric_limits<float>::infinity()
                             : static_cast<float>(std::log(random.uniform() + 1e-3)));
    }
  }
  c.name = str("cross entropy [", rows, ", ", vocabulary, "], case ", turn);
  return c;
}

struct Found {
  HostRows d_logits;
  std::vector<RowLoss> losses;
  LossTotals totals{};
};

Found run(const LossCase& c, bool wants_gradient) {
  const int64_t rows = c.logits.rows;
  const GpuRows logits(c.logits);
  const GpuArray<int32_t> labels(c.labels), ids(c.ids);
  const GpuArray<float> weights(c.weights), logs(c.logs);
  const auto losses = GpuArray<RowLoss>::blank(rows);
  const GpuArray<LossTotals> totals(std::vector<LossTotals>{{1, 2, 3, 4, 5}});
  check_launch(launch_cross_entropy({.rows = rows,
                                     .vocabulary = c.logits.width,
                                     .logits = logits.view(),
                                     .labels = labels.data(),
                                     .weights = c.weights.empty() ? nullptr : weights.data(),
                                     .label_smoothing = static_cast<float>(c.smoothing),
                                     .z_loss = static_cast<float>(c.z_loss),
                                     .gradient_scale = static_cast<float>(c.scale),
                                     .teacher_weight = static_cast<float>(c.lambda),
                                     .teacher_ids = ids.data(),
                                     .teacher_log_probabilities = logs.data(),
                                     .teacher_count = static_cast<int32_t>(c.choices),
                                     .wants_gradient = wants_gradient,
                                     .losses = losses.data()},
                                    gpu().stream()));
  check_launch(launch_sum_losses(losses.data(), rows, totals.data(), gpu().stream()));
  return {logits.read(c.name), losses.read(c.name), totals.read(c.name)[0]};
}

/// One row by the formula, in double.
struct RowTwin {
  double loss = 0, nll = 0, weight = 0, mean_logit = 0;
  bool correct = false;
  std::vector<double> d_logits;
};

RowTwin twin(const LossCase& c, int64_t r) {
  const auto at = static_cast<size_t>(r);
  const float* logits = c.logits.row(r);
  const int64_t vocabulary = c.logits.width, label = c.labels[at];
  RowTwin out{.d_logits = std::vector<double>(static_cast<size_t>(vocabulary))};
  out.weight = c.weights.empty() ? 1 : static_cast<double>(c.weights[at]);
  if (label < 0 || out.weight == 0) return out.weight = 0, out;
  const double most = static_cast<double>(*std::max_element(logits, logits + vocabulary));
  double z = 0, total = 0, teacher = 0, divergence = 0;
  for (int64_t n = 0; n < vocabulary; ++n) {
    z += std::exp(static_cast<double>(logits[n]) - most);
    total += static_cast<double>(logits[n]);
  }
  const double log_z = most + std::log(z);
  out.mean_logit = total / static_cast<double>(vocabulary);
  std::vector<double> q(static_cast<size_t>(c.choices));
  for (size_t k = 0; k < q.size(); ++k) {
    const size_t i = at * q.size() + k;
    q[k] = c.ids[i] < 0 ? 0 : std::exp(static_cast<double>(c.logs[i]));
    teacher += q[k];
  }
  const double lambda = teacher > 0 ? c.lambda : 0;
  const double scale = out.weight * c.scale, size = static_cast<double>(vocabulary);
  for (int64_t n = 0; n < vocabulary; ++n) {
    const double p = std::exp(static_cast<double>(logits[n]) - log_z);
    out.d_logits[static_cast<size_t>(n)] =
        scale * (p * (1 + 2 * c.z_loss * log_z) - (1 - lambda) * c.smoothing / size);
  }
  out.d_logits[static_cast<size_t>(label)] -= scale * (1 - lambda) * (1 - c.smoothing);
  for (size_t k = 0; k < q.size() && teacher > 0; ++k) {
    if (q[k] == 0) continue;
    const auto id = static_cast<size_t>(c.ids[at * q.size() + k]);
    const double share = q[k] / teacher;
    divergence += share * (std::log(share) + log_z - static_cast<double>(logits[id]));
    out.d_logits[id] -= scale * lambda * share;
  }
  const double nll = log_z - static_cast<double>(logits[label]);
  const double mean = c.smoothing > 0 ? log_z - total / size : 0;
  const double plain = (1 - c.smoothing) * nll + c.smoothing * mean;
  out.loss = out.weight * ((1 - lambda) * plain + lambda * divergence + c.z_loss * log_z * log_z);
  out.nll = out.weight * nll;
  out.correct = static_cast<double>(logits[label]) >= most;
  return out;
}

void check_totals(const LossTotals& totals, const std::vector<RowLoss>& losses,
                  const std::string& name) {
  LossTotals sums{1, 2, 3, 4, 5};
  for (const RowLoss& row : losses) {
    sums.loss += static_cast<double>(row.loss);
    sums.nll += static_cast<double>(row.nll);
    sums.weight += static_cast<double>(row.weight);
    sums.tokens += row.weight != 0 ? 1 : 0;
    sums.correct += row.correct;
  }
  EXPECT_NEAR(totals.loss, sums.loss, 1e-9 * (1 + std::abs(sums.loss))) << name;
  EXPECT_NEAR(totals.nll, sums.nll, 1e-9 * (1 + std::abs(sums.nll))) << name;
  EXPECT_NEAR(totals.weight, sums.weight, 1e-9 * sums.weight) << name;
  EXPECT_EQ(totals.tokens, sums.tokens) << name;
  EXPECT_EQ(totals.correct, sums.correct) << name;
}

TEST_F(OpsGpu, CrossEntropy) {
  int turn = 0;
  for (const int64_t vocabulary :
       {1, 7, 8, 100, 1001, 4096, 4097, 8000, 16384, 32001, 50257, 262144}) {
    for (const int64_t rows : {1, 7, 33}) {
      for (int i = 0; i < 3 && rows * vocabulary < 2000000; ++i, ++turn) {
        const LossCase c = loss_case(rows, vocabulary, turn);
        const Found found = run(c, true), again = run(c, true), alone = run(c, false);
        EXPECT_EQ(std::memcmp(found.losses.data(), again.losses.data(),
                              found.losses.size() * sizeof(RowLoss)),
                  0)
            << c.name << ": losses differ from run to run";
        EXPECT_EQ(std::memcmp(found.losses.data(), alone.losses.data(),
                              found.losses.size() * sizeof(RowLoss)),
                  0)
            << c.name << ": losses differ without gradients";
        cases::expect_same_bits(again.d_logits.values, found.d_logits.values, c.name);
        cases::expect_same_bits(alone.d_logits.values, c.logits.values, c.name + ", logits");
        std::vector<float> expected;
        for (int64_t r = 0; r < rows; ++r) {
          const RowTwin row = twin(c, r);
          const RowLoss& one = found.losses[static_cast<size_t>(r)];
          const std::string where = str(c.name, ", row ", r);
          EXPECT_NEAR(one.loss, row.loss, 1e-5 * (1 + std::abs(row.loss))) << where;
          EXPECT_NEAR(one.nll, row.nll, 1e-5 * (1 + std::abs(row.nll))) << where;
          EXPECT_EQ(one.weight, static_cast<float>(row.weight)) << where;
          EXPECT_EQ(one.correct, row.correct ? 1 : 0) << where;
          EXPECT_NEAR(one.mean_logit, row.mean_logit, 1e-5 * (1 + std::abs(row.mean_logit)))
              << where;
          for (const double d : row.d_logits) expected.push_back(static_cast<float>(d));
        }
        expect_near(found.d_logits.values, expected, 0x1p-8, 2e-6, c.name + ", d_logits");
        check_totals(found.totals, found.losses, c.name);
      }
    }
  }
  EXPECT_EQ(launch_cross_entropy({}, gpu().stream()), 0);  // no rows
}

TEST_F(OpsGpu, CrossEntropyLikeTheCpu) {
  constexpr int64_t kRows = 20, kVocabulary = 101;
  for (int turn = 0; turn < 15; ++turn) {
    LossCase c = loss_case(kRows, kVocabulary, turn);
    Workspace workspace;
    // Logits times the identity are logits, and d_x their gradient.
    HostRows identity(kVocabulary, kVocabulary), d_identity = identity,
                                                 d_logits(kRows, kVocabulary);
    for (int64_t n = 0; n < kVocabulary; ++n) identity.row(n)[n] = 1;
    HostRows logits = c.logits;
    Rows x = logits.view(workspace);
    const Matrix w({cases::tensor_of(identity.values, {kVocabulary, kVocabulary})});
    const CrossEntropyGradients gradients{.weight = {.values = identity.values.data(),
                                                     .rows = kVocabulary,
                                                     .d_values = d_identity.values.data()},
                                          .d_x = d_logits.plain()};
    const CrossEntropySums sums = cross_entropy(x, w, nullptr,
                                                {.labels = c.labels,
                                                 .weights = c.weights,
                                                 .label_smoothing = c.smoothing,
                                                 .z_loss = c.z_loss,
                                                 .teacher_weight = c.lambda,
                                                 .teacher_ids = c.ids,
                                                 .teacher_log_probabilities = c.logs,
                                                 .teacher_count = c.choices,
                                                 .gradient_scale = c.scale},
                                                &gradients, workspace);
    const Found found = run(c, true);
    EXPECT_NEAR(found.totals.loss - 1, sums.loss, 1e-5 * (1 + std::abs(sums.loss))) << c.name;
    EXPECT_NEAR(found.totals.nll - 2, sums.nll, 1e-5 * (1 + std::abs(sums.nll))) << c.name;
    EXPECT_EQ(found.totals.tokens - 4, sums.tokens) << c.name;
    EXPECT_EQ(found.totals.correct - 5, sums.correct) << c.name;
    expect_near(found.d_logits.values, d_logits.values, 0x1p-8, 2e-6, c.name + ", d_logits");
  }
}

TEST_F(OpsGpu, CrossEntropyOfWhatIsNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  for (const int64_t vocabulary : {100, 1003, 40001}) {
    LossCase c = loss_case(4, vocabulary, 0);
    c.labels = {1, 1, 1, 1};
    c.name = str("not finite, V = ", vocabulary);
    c.logits.row(0)[vocabulary - 1] = NAN;
    c.logits.row(1)[vocabulary / 2] = kInfinity;
    for (int64_t n = 8; n < vocabulary; ++n) c.logits.row(2)[n] = -kInfinity;  // counts as nothing
    const Found found = run(c, true);
    EXPECT_TRUE(std::isnan(found.losses[0].loss) && std::isnan(found.losses[0].nll)) << c.name;
    EXPECT_TRUE(std::isnan(found.losses[1].loss) && std::isnan(found.losses[1].nll)) << c.name;
    const RowTwin row = twin(c, 2);
    EXPECT_NEAR(found.losses[2].loss, row.loss, 1e-5 * (1 + row.loss)) << c.name;
    EXPECT_EQ(found.d_logits.row(2)[vocabulary - 1], 0) << c.name;
    EXPECT_TRUE(std::isfinite(found.losses[3].loss)) << c.name;
    EXPECT_TRUE(std::isnan(found.totals.loss)) << c.name;
    EXPECT_TRUE(std::isnan(found.d_logits.row(0)[0])) << c.name;
  }
}

TEST_F(OpsGpu, AdamW) {
  for (const int64_t count : {1, 3, 4, 1000, 100003}) {
    for (const int64_t shift : {0, 1}) {  // 1: not at a multiple of 16 bytes
      const std::string name = str("adamw ", count, ", shift ", shift);
      const std::vector<float> value = random_floats(count, 1), mean = random_floats(count, 2, 0.1);
      const std::vector<float> average = random_floats(count, 3),
                               gradient = random_floats(count, 4);
      std::vector<float> square = random_floats(count, 5, 0.1);
      for (float& each : square) each *= each;
      AdamWUpdate update{};
      update.count = count, update.decayed = count * 2 / 3, update.scale = 0.3f;
      update.beta1 = 0.9, update.beta2 = 0.999, update.average_decay = 0.995;
      update.keep = 0.98f, update.rate = 0.01f, update.root = 1.7f, update.epsilon = 1e-9f;
      Results expected(4);
      for (size_t i = 0; i < value.size(); ++i) {
        const float g = update.scale * gradient[i];
        const float m = 0.9f * mean[i] + static_cast<float>(1 - 0.9) * g;
        const float s = 0.999f * square[i] + static_cast<float>(1 - 0.999) * g * g;
        const float keep = static_cast<int64_t>(i) < update.decayed ? update.keep : 1;
        const float w =
            keep * value[i] - update.rate * m / (std::sqrt(s) * update.root + update.epsilon);
        expected[0].push_back(w), expected[1].push_back(m), expected[2].push_back(s);
        expected[3].push_back(0.995f * average[i] + static_cast<float>(1 - 0.995) * w);
      }
      for (const bool all : {true, false}) {
        const Results found = twice(name, [&]() -> Results {
          const GpuArray<float> values(value, shift), means(mean, shift), squares(square, shift);
          const GpuArray<float> averages(average, shift), gradients(gradient, shift);
          const auto copies = GpuArray<BFloat16>::blank(count);
          AdamWUpdate p = update;
          p.values = values.data(), p.means = means.data(), p.squares = squares.data();
          p.averages = all ? averages.data() : nullptr, p.gradients = gradients.data();
          p.copies = all ? copies.data() : nullptr;
          check_launch(launch_adamw(p, gpu().stream()));
          std::vector<float> copied;
          for (const BFloat16 each : copies.read(name)) copied.push_back(static_cast<float>(each));
          return {values.read(name), means.read(name), squares.read(name), averages.read(name),
                  copied};
        });
        for (size_t i = 0; i < 3; ++i) expect_near(found[i], expected[i], 1e-6, 1e-8, name);
        expect_near(found[3], all ? expected[3] : average, 1e-6, 1e-8, name + ", average");
        for (size_t i = 0; all && i < value.size(); ++i) {
          ASSERT_EQ(found[4][i], rounded(found[0][i])) << name << ", copy " << i;
        }
      }
    }
  }
}

TEST_F(OpsGpu, ArraysOfParameters) {
  for (const int64_t count : {0, 1, 5, 4096, 5000003}) {
    for (const int64_t shift : {0, 3}) {
      const std::string name = str("arrays ", count, ", shift ", shift);
      std::vector<float> a = random_floats(count, 6);
      const std::vector<float> b = random_floats(count, 7);
      double exact = 0;
      for (const float each : a) exact += static_cast<double>(each) * static_cast<double>(each);
      const GpuArray<float> gpu_a(a, shift), gpu_b(b, shift);
      const auto scratch = GpuArray<double>::blank(kSquareBlocks), sum = GpuArray<double>::blank(1);
      const auto first = GpuArray<int64_t>::blank(1);
      const auto converted = GpuArray<BFloat16>::blank(count),
                 copies = GpuArray<BFloat16>::blank(count);
      const Stream stream = gpu().stream();
      check_launch(launch_sum_squares(gpu_a.data(), count, scratch.data(), sum.data(), stream));
      EXPECT_NEAR(sum.read(name)[0], exact, 1e-12 * exact) << name;
      check_launch(launch_first_not_finite(gpu_a.data(), count, first.data(), stream));
      EXPECT_EQ(first.read(name)[0], count) << name;
      check_launch(launch_convert(gpu_a.data(), count, 0.3f, converted.data(), Half::bf16, stream));
      check_launch(launch_swap(gpu_a.data(), gpu_b.data(), count, copies.data(), stream));
      cases::expect_same_bits(gpu_a.read(name), b, name + ", swapped a");
      cases::expect_same_bits(gpu_b.read(name), a, name + ", swapped b");
      const std::vector<BFloat16> third = converted.read(name), copy = copies.read(name);
      for (size_t i = 0; i < a.size(); ++i) {
        ASSERT_EQ(third[i].bits, BFloat16(0.3f * a[i]).bits) << name << ", converted " << i;
        ASSERT_EQ(copy[i].bits, BFloat16(b[i]).bits) << name << ", copy " << i;
      }
      if (count < 5) continue;
      a[static_cast<size_t>(count) - 1] = NAN;
      a[static_cast<size_t>(count) / 2] = -std::numeric_limits<float>::infinity();
      const GpuArray<float> bad(a, shift);
      check_launch(launch_first_not_finite(bad.data(), count, first.data(), stream));
      EXPECT_EQ(first.read(name)[0], count / 2) << name;
    }
  }
}

}  // namespace
}  // namespace heddle::ops::cuda
