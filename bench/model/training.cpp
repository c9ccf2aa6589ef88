// A training step of a Transformer on one thread, and the rate of single-precision products beside
// it:
//
//   bench_training [layers] [width] [ffn width] [vocabulary] [target tokens] [recompute 0 | 1]
//
// Operations of a step: 6 a weight and token that meet (the output projection too, embeddings not),
// and three times attention's 4 · E · H a pair of tokens that sees each other.
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <limits>
#include <string>
#include <vector>

#include "heddle/base/random.h"
#include "heddle/model/training.h"
#include "heddle/ops/linear.h"

namespace heddle::model {
namespace {

/// Random sentences of about 25 tokens, sorted by length as a packer leaves them.
struct Batch {
  std::vector<int32_t> sources, source_offsets{0}, targets, target_offsets{0}, labels;
  double source_pairs = 0, target_pairs = 0, cross_pairs = 0;

  Batch(int64_t tokens, int64_t vocabulary) {
    Random random(1);
    std::vector<std::pair<int64_t, int64_t>> lengths;
    for (int64_t total = 0; total < tokens;) {
      const int64_t target = random.between(5, 45);
      lengths.emplace_back(target, std::max<int64_t>(3, target + random.between(-4, 4)));
      total += target;
    }
    std::ranges::sort(lengths);
    const auto append = [&](std::vector<int32_t>& to, std::vector<int32_t>& offsets,
                            int64_t count) {
      for (int64_t i = 0; i < count; ++i) {
        to.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(vocabulary))));
      }
      offsets.push_back(static_cast<int32_t>(to.size()));
    };
    for (const auto& [target, source] : lengths) {
      append(sources, source_offsets, source);
      append(targets, target_offsets, target);
      source_pairs += static_cast<double>(source * source);
      target_pairs += static_cast<double>(target * (target + 1)) / 2;
      cross_pairs += static_cast<double>(source * target);
    }
    for (size_t t = 0; t < targets.size(); ++t) {
      labels.push_back(targets[(t + 1) % targets.size()]);
    }
  }

  TrainingBatch view() const {
    return {.pair = {sources, source_offsets, targets, target_offsets}, .labels = labels};
  }
};

/// Operations of a forward pass; a step has three times as many.
double operations(const TransformerConfig& c, const Batch& batch) {
  const auto d = static_cast<double>(c.width);
  const auto source = static_cast<double>(batch.sources.size());
  const auto target = static_cast<double>(batch.targets.size());
  const double encoder = 4 * d * d + 2 * d * static_cast<double>(c.encoder.ffn_width);
  const double decoder = 6 * d * d + 2 * d * static_cast<double>(c.decoder.ffn_width);
  const auto encoders = static_cast<double>(c.encoder.layers);
  const auto decoders = static_cast<double>(c.decoder.layers);
  const double weights =
      source * (encoders * encoder + decoders * 2 * d * d) +
      target * (decoders * decoder + d * static_cast<double>(c.target_vocabulary));
  const double pairs =
      encoders * batch.source_pairs + decoders * (batch.target_pairs + batch.cross_pairs);
  return 2 * weights + 4 * d * pairs;
}

double best_seconds(int runs, const auto& body) {
  double best = std::numeric_limits<double>::infinity();
  for (int i = 0; i < runs; ++i) {
    const std::clock_t begin = std::clock();  // of the processor: other processes do not count
    body();
    best = std::min(best, static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC);
  }
  return best;
}

/// GFLOP/s of x · Wᵀ and of both gradients, at the shape of a feed-forward layer.
void report_products(const TransformerConfig& c, int64_t rows) {
  const int64_t in = c.width, out = c.encoder.ffn_width;
  ops::Workspace workspace;
  Random random(2);
  const auto fill = [&](float* to, int64_t count) {
    for (int64_t i = 0; i < count; ++i) to[i] = static_cast<float>(random.uniform() - 0.5);
  };
  Tensor values = Tensor::empty({out, in}, DType::f32),
         gradient = Tensor::zeros({out, in}, DType::f32);
  fill(values.data<float>(), out * in);
  const ops::Matrix matrix({values}, ops::Precision::f32);
  ops::Rows x(rows, in, workspace), y(rows, out, workspace), d_x(rows, in, workspace);
  fill(x.row(0), rows * in);
  const double flops = 2.0 * static_cast<double>(rows * in * out) / 1e9;
  const double forward = best_seconds(5, [&] { ops::linear(x, matrix, {}, y, workspace); });
  const ops::LinearWeight weight{
      .values = values.data<float>(), .rows = out, .d_values = gradient.data<float>()};
  const double both = best_seconds(5, [&] {
    ops::linear_backward(x, {&weight, 1}, {{y.row(0), out}, {d_x.row(0), in}, false}, workspace);
  });
  std::printf("product [%lld, %lld] x [%lld, %lld]: %.1f GFLOP/s forward, %.1f backward\n",
              static_cast<long long>(rows), static_cast<long long>(in), static_cast<long long>(out),
              static_cast<long long>(in), flops / forward, 2 * flops / both);
}

void run(const std::vector<int64_t>& numbers) {
  TransformerConfig c;
  c.encoder.layers = c.decoder.layers = numbers[0];
  c.width = numbers[1];
  c.encoder.ffn_width = c.decoder.ffn_width = numbers[2];
  c.source_vocabulary = c.target_vocabulary = numbers[3];
  c.activation = ActivationKind::relu;
  c.scale_embedding = true;
  TrainingTransformer model(random_model(c, 1));
  const Batch batch(numbers[4], numbers[3]);
  const double flops = operations(c, batch) / 1e9;
  const auto tokens = static_cast<double>(batch.targets.size());
  report_products(c, 1024);
  const auto report = [&](const char* name, double work, double seconds) {
    std::printf("%-10s %8.0f ms %8.1f GFLOP/s %8.0f target tokens/s\n", name, 1e3 * seconds,
                work / seconds, tokens / seconds);
    std::fflush(stdout);
  };
  const LossSettings settings{.label_smoothing = 0.1, .dropout = 0.1, .recompute = numbers[5] != 0};
  report("loss", flops, best_seconds(2, [&] { model.loss(batch.view()); }));
  report("step", 3 * flops,
         best_seconds(2, [&] { model.forward_backward(batch.view(), settings); }));
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("values_changed %.0f ms, %.0f MB at most\n",
              1e3 * best_seconds(2, [&] { model.values_changed(); }),
              static_cast<double>(usage.ru_maxrss) / 1024);
}

}  // namespace
}  // namespace heddle::model

int main(int argc, char** argv) {
  std::vector<int64_t> numbers{6, 512, 2048, 32000, 2000, 0};
  for (int i = 1; i < argc && i <= 6; ++i)
    numbers[static_cast<size_t>(i - 1)] = std::atoll(argv[i]);
  heddle::model::run(numbers);
}
