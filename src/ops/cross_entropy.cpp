#include "heddle/ops/cross_entropy.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "heddle/base/error.h"
#include "heddle/ops/cpu/kernels.h"

namespace heddle::ops {

namespace {

constexpr int64_t kBlockFloats = int64_t{2} << 20;  // logits at once: 8 MiB

void check(const Rows& x, const Matrix& w, const CrossEntropy& loss) {
  const auto rows = static_cast<size_t>(x.count());
  HEDDLE_CHECK(x.width() == w.columns() && loss.labels.size() == rows, "cross_entropy: x [",
               x.count(), ", ", x.width(), "], w [", w.rows(), ", ", w.columns(), "], ",
               loss.labels.size(), " labels; expected x [R, D], w [V, D], R labels");
  HEDDLE_CHECK(loss.weights.empty() || loss.weights.size() == rows,
               "cross_entropy: ", loss.weights.size(), " weights for ", rows, " rows");
  for (const auto& wanted : {loss.row_nll, loss.row_mean_logit}) {
    HEDDLE_CHECK(wanted.empty() || wanted.size() == rows, "cross_entropy: room for ", wanted.size(),
                 " numbers of ", rows, " rows");
  }
  HEDDLE_CHECK(loss.label_smoothing >= 0 && loss.label_smoothing < 1,
               "cross_entropy: label smoothing ", loss.label_smoothing,
               "; expected 0 or more, below 1");
  for (const int32_t label : loss.labels) {
    HEDDLE_CHECK(label >= -1 && label < w.rows(), "cross_entropy: label ", label, " of ", w.rows());
  }
  if (loss.teacher_weight == 0) return;
  const size_t choices = rows * static_cast<size_t>(loss.teacher_count);
  HEDDLE_CHECK(loss.teacher_weight > 0 && loss.teacher_weight <= 1 && loss.teacher_count > 0 &&
                   loss.teacher_ids.size() == choices &&
                   loss.teacher_log_probabilities.size() == choices,
               "cross_entropy: a teacher of weight ", loss.teacher_weight, " with ",
               loss.teacher_ids.size(), " ids and ", loss.teacher_log_probabilities.size(),
               " log-probabilities; expected a weight up to 1 and [", rows, ", ",
               loss.teacher_count, "] of each");
  for (const int32_t id : loss.teacher_ids) {
    HEDDLE_CHECK(id >= -1 && id < w.rows(), "cross_entropy: teacher's id ", id, " of ", w.rows());
  }
}

/// Σ x, in double.
double sum_of(const float* x, int64_t count) {
  double sums[4] = {};
  for (int64_t i = 0; i < count; ++i) sums[i % 4] += static_cast<double>(x[i]);
  return (sums[0] + sums[1]) + (sums[2] + sums[3]);
}

/// What the teacher says of one row.
class Teacher {
 public:
  Teacher(const CrossEntropy& loss, int64_t row)
      : count_(loss.teacher_weight > 0 ? loss.teacher_count : 0),
        ids_(loss.teacher_ids.data() + row * count_),
        logs_(loss.teacher_log_probabilities.data() + row * count_) {
    double total = 0;
    each([&](int32_t, double, double mass) { total += mass; });
    log_total_ = std::log(total);
    given_ = total > 0;
  }

  bool given() const { return given_; }

  /// body(id, ln q, q) for each choice.
  template <typename Body>
  void each(const Body& body) const {
    for (int64_t k = 0; k < count_; ++k) {
      const double log_q = static_cast<double>(logs_[k]) - log_total_;
      if (ids_[k] >= 0 && log_q > -std::numeric_limits<double>::infinity()) {
        body(ids_[k], log_q, std::exp(log_q));
      }
    }
  }

 private:
  int64_t count_;
  const int32_t* ids_;
  const float* logs_;
  double log_total_ = 0;
  bool given_ = false;
};

/// The loss of one row; its logits [V] become d_logits when `wants_gradient`.
class RowLoss {
 public:
  RowLoss(const CrossEntropy& loss, int64_t vocabulary, const cpu::Kernels& kernels)
      : loss_(loss), vocabulary_(vocabulary), kernels_(kernels) {}

  void add(int64_t row, float* logits, bool wants_gradient) {
    const auto at = static_cast<size_t>(row);
    const int32_t label = loss_.labels[at];
    const double weight = loss_.weights.empty() ? 1 : static_cast<double>(loss_.weights[at]);
    if (label < 0 || weight == 0) {
      std::fill(logits, logits + vocabulary_, 0.0f);
      return;
    }
    const Teacher teacher(loss_, row);
    const double size = static_cast<double>(vocabulary_);
    const double total = sum_of(logits, vocabulary_);
    const double label_logit = static_cast<double>(logits[label]);
    double teacher_entropy = 0, teacher_logit = 0;
    teacher.each([&](int32_t id, double log_q, double q) {
      teacher_entropy += q * log_q;
      teacher_logit += q * static_cast<double>(logits[id]);
    });
    float max = 0;
    const float mass = kernels_.exponentials(logits, vocabulary_, &max);
    double log_z = static_cast<double>(max) + std::log(static_cast<double>(mass));
    if (std::isnan(total) || !std::isfinite(max)) log_z = std::numeric_limits<double>::quiet_NaN();

    const double smoothing = loss_.label_smoothing, lambda = lambda_of(teacher);
    double value = (1 - smoothing) * (log_z - label_logit);
    if (smoothing > 0) value += smoothing * (log_z - total / size);
    value *= 1 - lambda;
    if (lambda > 0) value += lambda * (teacher_entropy + log_z - teacher_logit);
    if (!loss_.row_nll.empty()) loss_.row_nll[at] = log_z - label_logit;
    if (!loss_.row_mean_logit.empty()) loss_.row_mean_logit[at] = total / size;
    sums_.loss += weight * (value + loss_.z_loss * log_z * log_z);
    sums_.nll += weight * (log_z - label_logit);
    sums_.weight += weight;
    ++sums_.tokens;
    sums_.correct += label_logit >= static_cast<double>(max) ? 1 : 0;
    if (!wants_gradient) return;

    const double scale = weight * loss_.gradient_scale;
    const auto factor =
        static_cast<float>(scale * (1 + 2 * loss_.z_loss * log_z) / static_cast<double>(mass));
    const auto uniform = static_cast<float>(scale * (1 - lambda) * smoothing / size);
    for (int64_t n = 0; n < vocabulary_; ++n) logits[n] = logits[n] * factor - uniform;
    logits[label] -= static_cast<float>(scale * (1 - lambda) * (1 - smoothing));
    teacher.each([&](int32_t id, double, double q) {
      logits[id] -= static_cast<float>(scale * lambda * q);
    });
  }

  const CrossEntropySums& sums() const { return sums_; }

 private:
  double lambda_of(const Teacher& teacher) const {
    return teacher.given() ? loss_.teacher_weight : 0;
  }

  const CrossEntropy& loss_;
  int64_t vocabulary_;
  const cpu::Kernels& kernels_;
  CrossEntropySums sums_;
};

}  // namespace

CrossEntropySums cross_entropy(Rows& x, const Matrix& w, const float* bias,
                               const CrossEntropy& loss, const CrossEntropyGradients* gradients,
                               Workspace& workspace) {
  check(x, w, loss);
  const int64_t vocabulary = w.rows();
  const int64_t block_rows = std::clamp<int64_t>(
      std::max(kBlockFloats / vocabulary, loss.least_rows), 1, std::max<int64_t>(x.count(), 1));
  const Workspace::Scope scope(workspace);
  float* logits = workspace.take<float>(block_rows * vocabulary);
  RowLoss row_loss(loss, vocabulary, workspace.kernels());
  for (int64_t first = 0; first < x.count(); first += block_rows) {
    const int64_t count = std::min(block_rows, x.count() - first);
    const Workspace::Scope block_scope(workspace);
    Rows block(x.row(first), count, x.width(), x.stride(), workspace);
    Rows y(logits, count, vocabulary, nullptr);
    linear(block, w, {.bias = bias}, y, workspace);
    for (int64_t r = 0; r < count; ++r) row_loss.add(first + r, y.row(r), gradients != nullptr);
    if (gradients == nullptr) continue;
    linear_backward(block, {&gradients->weight, 1},
                    {.d_y = {logits, vocabulary},
                     .d_x = {gradients->d_x.row(first), gradients->d_x.stride},
                     .adds = false},
                    workspace);
  }
  return row_loss.sums();
}

}  // namespace heddle::ops
