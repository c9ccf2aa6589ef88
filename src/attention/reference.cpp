#include "heddle/attention/reference.h"

#include <cmath>
#include <limits>
#include <vector>

namespace heddle::attention::reference {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

double load(const Tensor& tensor, int64_t at) {
  switch (tensor.dtype()) {
    case DType::f64:
      return tensor.data<double>()[at];
    case DType::f32:
      return tensor.data<float>()[at];
    case DType::f16:
      return static_cast<float>(tensor.data<Float16>()[at]);
    default:
      return static_cast<float>(tensor.data<BFloat16>()[at]);
  }
}

void store(const Tensor& tensor, int64_t at, double value) {
  const auto single = static_cast<float>(value);
  switch (tensor.dtype()) {
    case DType::f64:
      tensor.data<double>()[at] = value;
      break;
    case DType::f32:
      tensor.data<float>()[at] = single;
      break;
    case DType::f16:
      tensor.data<Float16>()[at] = Float16(single);
      break;
    default:
      tensor.data<BFloat16>()[at] = BFloat16(single);
      break;
  }
}

/// One head of a [T, heads, E] tensor in double.
struct Matrix {
  Matrix(int64_t rows, int64_t width) : columns(width), data(static_cast<size_t>(rows * width)) {}

  double* row(int64_t i) { return data.data() + i * columns; }
  const double* row(int64_t i) const { return data.data() + i * columns; }

  int64_t columns;
  std::vector<double> data;
};

Matrix load_head(const Tensor& tensor, int64_t head) {
  Matrix matrix(tensor.dim(0), tensor.dim(2));  // [T, E]
  for (int64_t i = 0; i < tensor.dim(0); ++i) {
    for (int64_t e = 0; e < matrix.columns; ++e) {
      matrix.row(i)[e] = load(tensor, i * tensor.stride(0) + head * tensor.stride(1) + e);
    }
  }
  return matrix;
}

void store_head(const Tensor& tensor, int64_t head, const Matrix& matrix) {
  for (int64_t i = 0; i < tensor.dim(0); ++i) {
    for (int64_t e = 0; e < matrix.columns; ++e) {
      store(tensor, i * tensor.stride(0) + head * tensor.stride(1) + e, matrix.row(i)[e]);
    }
  }
}

double dot(const double* a, const double* b, int64_t n) {
  double sum = 0;
  for (int64_t e = 0; e < n; ++e) sum += a[e] * b[e];
  return sum;
}

void add_scaled(double* to, double factor, const double* from, int64_t n) {
  for (int64_t e = 0; e < n; ++e) to[e] += factor * from[e];
}

/// The softmax of one row over the keys it sees.
struct Row {
  std::vector<int32_t> keys;    // visible keys
  std::vector<double> weights;  // exp(x − lse), one a visible key
  std::vector<double> slopes;   // dx / d(scale · q·k), 1 without a soft-cap
  double sink = 0;              // exp(sink − lse), 0 without a sink
  double lse = -kInfinity;
};

/// One query head: its inputs in double and its options.
class Head {
 public:
  Head(const Args& args, int64_t head)
      : q(load_head(args.q, head)),
        k(load_head(args.k, kv_head(args, head))),
        v(load_head(args.v, kv_head(args, head))),
        scale(scale_of(args)),
        mask_(args.mask->view()),
        mask_head_(mask_head(mask_, static_cast<int32_t>(kv_head(args, head)))),
        softcap_(args.softcap),
        slope_(args.alibi_slopes.defined() ? load(args.alibi_slopes, head) : 0),
        sink_(args.sinks.defined() ? load(args.sinks, head) : -kInfinity) {}

  static int64_t kv_head(const Args& args, int64_t head) {
    return head / (args.q.dim(1) / args.k.dim(1));
  }

  void softmax(int32_t i, Row& row) const {
    row.keys.clear();
    row.weights.clear();
    row.slopes.clear();
    double largest = sink_;
    for (int32_t j = 0; j < mask_.key_length; ++j) {
      if (!allowed(mask_, mask_head_, i, j)) continue;
      double x = scale * dot(q.row(i), k.row(j), q.columns);
      double slope = 1;
      if (softcap_ > 0) {
        const double t = std::tanh(x / softcap_);
        x = softcap_ * t;
        slope = 1 - t * t;
      }
      x -= slope_ * std::abs(double{1} * i + mask_.offset - j);
      row.keys.push_back(j);
      row.weights.push_back(x);
      row.slopes.push_back(slope);
      largest = std::max(largest, x);
    }
    row.lse = -kInfinity;
    row.sink = 0;
    if (row.keys.empty()) return;
    double sum = std::exp(sink_ - largest);
    for (const double x : row.weights) sum += std::exp(x - largest);
    row.lse = largest + std::log(sum);
    for (double& x : row.weights) x = std::exp(x - row.lse);
    row.sink = std::exp(sink_ - row.lse);
  }

  Matrix q, k, v;  // [Tq, E], [Tk, E], [Tk, Ev]
  double scale;

 private:
  MaskView mask_;
  int32_t mask_head_;
  double softcap_, slope_, sink_;
};

}  // namespace

bool applies(const Args& args, Pass) { return args.q.device().type == DeviceType::cpu; }

void forward(const Args& args) {
  for (int64_t h = 0; h < args.q.dim(1); ++h) {
    const Head head(args, h);
    Matrix out(args.q.dim(0), args.v.dim(2));  // [Tq, Ev]
    Row row;
    for (int32_t i = 0; i < args.mask->query_length(); ++i) {
      head.softmax(i, row);
      for (size_t n = 0; n < row.keys.size(); ++n) {
        add_scaled(out.row(i), row.weights[n], head.v.row(row.keys[n]), out.columns);
      }
      store(args.lse, h * args.lse.stride(0) + i, row.lse);
    }
    store_head(args.out, h, out);
  }
}

void backward(const Args& args, const Gradients& gradients) {
  const int64_t heads = args.q.dim(1), kv_heads = args.k.dim(1), group = heads / kv_heads;
  for (int64_t kv = 0; kv < kv_heads; ++kv) {
    Matrix d_k(args.k.dim(0), args.k.dim(2));  // [Tk, E], summed over the group's query heads
    Matrix d_v(args.v.dim(0), args.v.dim(2));  // [Tk, Ev]
    for (int64_t h = kv * group; h < (kv + 1) * group; ++h) {
      const Head head(args, h);
      const Matrix d_out = load_head(gradients.d_out, h);  // [Tq, Ev]
      Matrix d_q(args.q.dim(0), args.q.dim(2));            // [Tq, E]
      double d_sink = 0;
      Row row;
      std::vector<double> d_weights;
      for (int32_t i = 0; i < args.mask->query_length(); ++i) {
        head.softmax(i, row);
        d_weights.clear();
        double delta = 0;  // Σ_j weight · d_weight = out · d_out
        for (size_t n = 0; n < row.keys.size(); ++n) {
          const int32_t j = row.keys[n];
          d_weights.push_back(dot(d_out.row(i), head.v.row(j), d_v.columns));
          delta += row.weights[n] * d_weights[n];
          add_scaled(d_v.row(j), row.weights[n], d_out.row(i), d_v.columns);
        }
        for (size_t n = 0; n < row.keys.size(); ++n) {
          const int32_t j = row.keys[n];
          const double d_score =
              row.weights[n] * (d_weights[n] - delta) * row.slopes[n] * head.scale;
          add_scaled(d_q.row(i), d_score, head.k.row(j), d_q.columns);
          add_scaled(d_k.row(j), d_score, head.q.row(i), d_k.columns);
        }
        d_sink -= row.sink * delta;
      }
      store_head(gradients.d_q, h, d_q);
      if (gradients.d_sinks.defined()) store(gradients.d_sinks, h, d_sink);
    }
    store_head(gradients.d_k, kv, d_k);
    store_head(gradients.d_v, kv, d_v);
  }
}

}  // namespace heddle::attention::reference
