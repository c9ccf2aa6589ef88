// Attention under a mask, and its gradient: two documents in one packed sequence, 4 query heads
// that share 2 key/value heads. The gradient is compared with a finite difference.
#include <cmath>
#include <iostream>

#include "heddle/attention/attention.h"
#include "heddle/base/random.h"
#include "heddle/mask/builders.h"

namespace {

using heddle::DType;
using heddle::Tensor;

Tensor random_tensor(heddle::Shape shape, uint64_t stream) {
  Tensor tensor = Tensor::empty(shape, DType::f64);
  heddle::Random random(/*seed=*/1, stream);
  for (int64_t i = 0; i < tensor.elements(); ++i) tensor.data<double>()[i] = random.normal();
  return tensor;
}

double dot(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.elements(); ++i) sum += a.data<double>()[i] * b.data<double>()[i];
  return sum;
}

}  // namespace

int main() {
  constexpr int64_t kTokens = 64, kHeads = 4, kKvHeads = 2, kHeadDim = 16;
  const heddle::ColumnMask mask = heddle::masks::causal_document({40, 24});
  heddle::ThreadPool threads;

  heddle::attention::Args args{
      .q = random_tensor({kTokens, kHeads, kHeadDim}, 1),             // [Tq, H, E]
      .k = random_tensor({kTokens, kKvHeads, kHeadDim}, 2),           // [Tk, K, E]
      .v = random_tensor({kTokens, kKvHeads, kHeadDim}, 3),           // [Tk, K, Ev]
      .out = Tensor::empty({kTokens, kHeads, kHeadDim}, DType::f64),  // [Tq, H, Ev]
      .lse = Tensor::empty({kHeads, kTokens}, DType::f64),            // [H, Tq]
      .mask = &mask,
      .threads = &threads,
  };
  heddle::attention::forward(args);

  // A row that sees one key alone takes that key's value: the first token of each document.
  const double* out = args.out.data<double>();
  const double* v = args.v.data<double>();
  const int64_t second = 40;
  std::cout << "first token of document 2: out - v = "
            << out[second * kHeads * kHeadDim] - v[second * kKvHeads * kHeadDim] << '\n';

  const heddle::attention::Gradients gradients{
      .d_out = random_tensor(args.out.shape(), 4),
      .d_q = Tensor::empty(args.q.shape(), DType::f64),
      .d_k = Tensor::empty(args.k.shape(), DType::f64),
      .d_v = Tensor::empty(args.v.shape(), DType::f64),
  };
  heddle::attention::backward(args, gradients);

  const int64_t at = 3 * kKvHeads * kHeadDim;  // token 3, head 0, element 0 of k
  const double step = 1e-5, original = args.k.data<double>()[at];
  double loss[2];
  for (int side = 0; side < 2; ++side) {
    args.k.data<double>()[at] = original + (side == 0 ? step : -step);
    heddle::attention::forward(args);
    loss[side] = dot(args.out, gradients.d_out);
  }
  const double difference = (loss[0] - loss[1]) / (2 * step);
  const double gradient = gradients.d_k.data<double>()[at];
  const bool agrees = std::abs(difference - gradient) < 1e-6;
  std::cout << "d_k by gradient " << gradient << ", by difference " << difference << ": "
            << (agrees ? "agree" : "DIFFER") << '\n';
  return agrees ? 0 : 1;
}
