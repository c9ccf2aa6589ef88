#include "tests/attention/gpu_case.h"

#include <cmath>
#include <limits>
#include <map>

#include "heddle/attention/table.h"
#include "heddle/base/random.h"

namespace heddle::test {

namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

/// 65,536 normal numbers; cases draw from them, as making new ones would take longer than the
/// tests.
const std::vector<float>& normals() {
  static const std::vector<float> numbers = [] {
    Random random(7);
    std::vector<float> made(1 << 16);
    for (float& number : made) number = static_cast<float>(random.normal());
    return made;
  }();
  return numbers;
}

void store(const Tensor& tensor, int64_t at, float number) {
  if (tensor.dtype() == DType::f16) {
    tensor.data<Float16>()[at] = Float16(number);
  } else if (tensor.dtype() == DType::bf16) {
    tensor.data<BFloat16>()[at] = BFloat16(number);
  } else {
    tensor.data<float>()[at] = number;
  }
}

double load(const Tensor& tensor, int64_t at) {
  if (tensor.dtype() == DType::f16) return static_cast<float>(tensor.data<Float16>()[at]);
  if (tensor.dtype() == DType::bf16) return static_cast<float>(tensor.data<BFloat16>()[at]);
  if (tensor.dtype() == DType::f64) return tensor.data<double>()[at];
  return tensor.data<float>()[at];
}

std::vector<double> to_doubles(const Tensor& tensor, int64_t count) {
  Tensor host = cuda::to_host(tensor, gpu());
  std::vector<double> numbers(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) numbers[static_cast<size_t>(i)] = load(host, i);
  return numbers;
}

/// On the GPU with rows of NaN behind.
Tensor upload(const Tensor& host, int64_t spare) {
  const int64_t width = host.elements() / host.dim(0);
  Tensor padded = Tensor::empty({host.dim(0) + spare, host.dim(1), host.dim(2)}, host.dtype());
  for (int64_t i = 0; i < host.elements(); ++i) {
    store(padded, i, static_cast<float>(load(host, i)));
  }
  for (int64_t i = 0; i < spare * width; ++i) store(padded, host.elements() + i, kNaN);
  return cuda::to_gpu(padded, gpu()).slice(0, 0, host.dim(0));
}

std::map<std::string, double>& worst() {
  static std::map<std::string, double> ratios;
  return ratios;
}

}  // namespace

cuda::Context& gpu() {
  static cuda::Context context(0);
  return context;
}

GpuCase::GpuCase(const ColumnMask& mask, const CaseShape& shape, cuda::Context& context)
    : mask_(mask),
      shape_(shape),
      context_(context),
      device_mask_(mask_, context),
      state_(shape.seed * 0x9e3779b97f4a7c15ull + 1) {
  q_ = random(mask.query_length(), shape.heads);
  k_ = random(mask.key_length(), shape.kv_heads);
  v_ = random(mask.key_length(), shape.kv_heads);
  d_out_ = random(mask.query_length(), shape.heads);
  const auto heads = static_cast<int64_t>(shape.heads);
  if (shape.sinks) sinks_ = Tensor::empty({heads}, DType::f32);
  if (shape.slopes) slopes_ = Tensor::empty({heads}, DType::f32);
  for (int64_t h = 0; h < heads; ++h) {
    if (shape.sinks) store(sinks_, h, 0.5f * static_cast<float>(h) - 0.5f);
    if (shape.slopes) store(slopes_, h, std::exp2(-1.0f - static_cast<float>(h)));
  }
}

Tensor GpuCase::random(int64_t rows, int64_t heads) {
  Tensor tensor = Tensor::empty({rows, heads, shape_.head_dim}, shape_.dtype);
  for (int64_t i = 0; i < tensor.elements(); ++i) {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    store(tensor, i, normals()[state_ >> 48]);
  }
  return tensor;
}

Tensor GpuCase::blank(int64_t rows, int64_t heads) {
  Tensor host = Tensor::empty({rows + shape_.spare, heads, shape_.head_dim}, shape_.dtype);
  for (int64_t i = 0; i < host.elements(); ++i) store(host, i, kNaN);
  return cuda::to_gpu(host, context_);
}

void GpuCase::fill(Tensor& tensor, int64_t row, float number) {
  const int64_t width = tensor.elements() / tensor.dim(0);
  for (int64_t i = 0; i < width; ++i) store(tensor, row * width + i, number);
}

void GpuCase::fill_rows(const std::vector<int64_t>& rows, float number) {
  for (const int64_t row : rows) {
    fill(q_, row, number);
    fill(d_out_, row, number);
  }
}

void GpuCase::fill_keys(const std::vector<int64_t>& keys, float number) {
  for (const int64_t key : keys) {
    fill(k_, key, number);
    fill(v_, key, number);
  }
}

CaseResults GpuCase::run(const std::string& row) {
  const int64_t rows = mask_.query_length(), keys = mask_.key_length();
  out_ = blank(rows, shape_.heads);
  d_q_ = blank(rows, shape_.heads);
  d_k_ = blank(keys, shape_.kv_heads);
  d_v_ = blank(keys, shape_.kv_heads);
  lse_ = Tensor::empty({shape_.heads, rows}, DType::f32, context_.memory());
  attention::Args args;
  args.q = upload(q_, shape_.spare);
  args.k = upload(k_, shape_.spare);
  args.v = upload(v_, shape_.spare);
  args.out = out_.slice(0, 0, rows);
  args.lse = lse_;
  args.mask = &mask_;
  args.softcap = shape_.softcap;
  if (shape_.scale != 0) args.scale = shape_.scale;
  attention::Gradients gradients;
  if (shape_.sinks) {
    args.sinks = cuda::to_gpu(sinks_, context_);
    gradients.d_sinks = d_sinks_ = Tensor::empty(sinks_.shape(), DType::f32, context_.memory());
  }
  if (shape_.slopes) args.alibi_slopes = cuda::to_gpu(slopes_, context_);
  args.cuda = &context_;
  args.device_mask = &device_mask_;
  args.deterministic = shape_.deterministic;
  gradients.d_out = upload(d_out_, shape_.spare);
  gradients.d_q = d_q_.slice(0, 0, rows);
  gradients.d_k = d_k_.slice(0, 0, keys);
  gradients.d_v = d_v_.slice(0, 0, keys);
  attention::forward(args, row);
  attention::backward(args, gradients, row);
  CaseResults results;
  results.out = to_doubles(out_, q_.elements());
  results.lse = to_doubles(lse_, lse_.elements());
  results.d_q = to_doubles(d_q_, q_.elements());
  results.d_k = to_doubles(d_k_, k_.elements());
  results.d_v = to_doubles(d_v_, k_.elements());
  if (shape_.sinks) results.d_sinks = to_doubles(d_sinks_, d_sinks_.elements());
  return results;
}

int64_t GpuCase::overwritten() {
  if (shape_.spare == 0) return 0;
  int64_t count = 0;
  for (const Tensor* tensor : {&out_, &d_q_, &d_k_, &d_v_}) {
    const std::vector<double> all = to_doubles(*tensor, tensor->elements());
    const size_t width = all.size() / static_cast<size_t>(tensor->dim(0));
    for (size_t i = all.size() - width * static_cast<size_t>(shape_.spare); i < all.size(); ++i) {
      count += !std::isnan(all[i]);
    }
  }
  return count;
}

CaseResults GpuCase::reference(bool rounding) {
  const auto bounds = [&](const int32_t* host) -> Tensor {
    if (host == nullptr) return {};
    const int64_t count = int64_t{mask_.heads()} * mask_.key_length();
    return cuda::to_gpu(Tensor::wrap(const_cast<int32_t*>(host), {count}, {1}, DType::i32),
                        context_);
  };
  const auto doubles = [&](int64_t count) {
    return Tensor::empty({count}, DType::f64, context_.memory());
  };
  GpuReference p{};
  MaskView view = mask_.view();
  const Tensor lts = bounds(view.lts), lte = bounds(view.lte), uts = bounds(view.uts),
               ute = bounds(view.ute);
  const auto pointer = [](const Tensor& tensor) {
    return static_cast<const int32_t*>(tensor.raw());
  };
  view.lts = pointer(lts);
  view.lte = pointer(lte);
  view.uts = pointer(uts);
  view.ute = pointer(ute);
  const Tensor q = cuda::to_gpu(q_, context_), k = cuda::to_gpu(k_, context_),
               v = cuda::to_gpu(v_, context_), d_out = cuda::to_gpu(d_out_, context_);
  const Tensor sinks = shape_.sinks ? cuda::to_gpu(sinks_, context_) : Tensor();
  const Tensor slopes = shape_.slopes ? cuda::to_gpu(slopes_, context_) : Tensor();
  const int64_t row_count = shape_.heads * mask_.query_length();
  const Tensor out = doubles(q.elements()), d_q = doubles(q.elements()), lse = doubles(row_count),
               delta = doubles(row_count), d_k = doubles(k.elements()), d_v = doubles(k.elements());
  p = {q.raw(),
       k.raw(),
       v.raw(),
       d_out.raw(),
       shape_.dtype == DType::bf16,
       rounding,
       view,
       static_cast<int32_t>(shape_.heads),
       static_cast<int32_t>(shape_.kv_heads),
       static_cast<int32_t>(shape_.head_dim),
       shape_.scale != 0 ? shape_.scale : 1 / std::sqrt(static_cast<double>(shape_.head_dim)),
       shape_.softcap,
       static_cast<const float*>(sinks.raw()),
       static_cast<const float*>(slopes.raw()),
       out.data<double>(),
       lse.data<double>(),
       delta.data<double>(),
       d_q.data<double>(),
       d_k.data<double>(),
       d_v.data<double>()};
  context_.synchronize();
  HEDDLE_CUDA_CHECK(heddle::test::run(p));
  CaseResults results{to_doubles(out, out.elements()), to_doubles(lse, row_count),
                      to_doubles(d_q, d_q.elements()), to_doubles(d_k, d_k.elements()),
                      to_doubles(d_v, d_v.elements()), {}};
  if (shape_.sinks) {
    const std::vector<double> deltas = to_doubles(delta, row_count);
    for (int64_t h = 0; h < shape_.heads; ++h) {
      double sum = 0;
      for (int64_t i = 0; i < mask_.query_length(); ++i) {
        const auto at = static_cast<size_t>(h * mask_.query_length() + i);
        if (results.lse[at] != -kInfinity) {
          sum -= std::exp(load(sinks_, h) - results.lse[at]) * deltas[at];
        }
      }
      results.d_sinks.push_back(sum);
    }
  }
  return results;
}

std::string GpuCase::text() const {
  std::string text = str(mask_.query_length(), " × ", mask_.key_length(), ", heads ", shape_.heads,
                         "/", shape_.kv_heads, ", E ", shape_.head_dim, ", ", name_of(shape_.dtype),
                         ", mask heads ", mask_.heads());
  if (shape_.softcap > 0) text += str(", soft-cap ", shape_.softcap);
  if (shape_.sinks) text += ", sinks";
  if (shape_.slopes) text += ", ALiBi";
  if (shape_.deterministic) text += ", deterministic";
  return text;
}

void expect_close(const char* name, const CaseResults& our_results,
                  const CaseResults& exact_results, const CaseResults& plain_results,
                  std::vector<double> CaseResults::*result, const GpuCase& problem, double floor) {
  const std::vector<double>&ours = our_results.*result, &exact = exact_results.*result,
        &plain = plain_results.*result;
  double error = 0, baseline = 0, largest = 0;
  size_t where = 0, not_finite = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double difference = std::abs(ours[i] - exact[i]);
    not_finite += !std::isfinite(ours[i]);
    if (!(difference <= error)) error = difference, where = i;
    baseline = std::max(baseline, std::abs(plain[i] - exact[i]));
    largest = std::max(largest, std::abs(exact[i]));
  }
  const double rounding = largest * (problem.shape().dtype == DType::bf16 ? 0x1p-9 : 0x1p-12);
  const double bound = 2 * baseline + 2 * rounding + floor;
  worst()[name] = std::max(worst()[name], error / bound);
  EXPECT_TRUE(not_finite == 0 && error <= bound)
      << name << ": error " << error << " at " << where << " (" << ours[where] << ", exact "
      << exact[where] << "), bound " << bound << ", baseline " << baseline << ", not finite "
      << not_finite << "; " << problem.text();
}

namespace {

/// What dP − Δ, two sums of E products of normal numbers that cancel where a row sees one key, may
/// be off by in f32.
double score_floor(const CaseShape& shape) { return 0x1p-22 * static_cast<double>(shape.head_dim); }

/// The same times |scale · k| of up to 4 standard deviations; P sums to 1 over a row.
double d_q_floor(const CaseShape& shape) {
  const double usual = 1 / std::sqrt(static_cast<double>(shape.head_dim));
  return score_floor(shape) * 4 * std::max(std::abs(shape.scale), usual);
}

/// Over a column P sums to as many rows as there are a key.
double d_k_floor(const GpuCase& problem) {
  const CaseShape& shape = problem.shape();
  const double rows = static_cast<double>(problem.mask().query_length() * shape.heads);
  const double keys = static_cast<double>(problem.mask().key_length() * shape.kv_heads);
  return d_q_floor(shape) * std::sqrt(1 + rows / keys);
}

}  // namespace

std::vector<std::string> gpu_rows(const CaseShape& shape) {
  std::vector<std::string> rows;
  attention::Args args;
  args.q = args.k = args.v = args.out =
      Tensor::empty({1, 1, shape.head_dim}, shape.dtype, gpu().memory());
  args.deterministic = shape.deterministic;
  args.softcap = shape.softcap;
  if (shape.scale != 0) args.scale = shape.scale;
  if (shape.sinks) args.sinks = Tensor::empty({shape.heads}, DType::f32);
  if (shape.slopes) args.alibi_slopes = Tensor::empty({shape.heads}, DType::f32);
  for (const attention::Implementation& row : attention::implementations()) {
    if (row.name.starts_with("cuda-") && row.applies(args, attention::Pass::backward)) {
      rows.emplace_back(row.name);
    }
  }
  return rows;
}

namespace {

void expect_lse(const CaseResults& ours, const CaseResults& exact, const std::string& text) {
  double error = 0;
  int64_t blind = 0;
  for (size_t i = 0; i < exact.lse.size(); ++i) {
    if (!std::isfinite(exact.lse[i]) || !std::isfinite(ours.lse[i])) {
      blind += !(ours.lse[i] == exact.lse[i]);
      continue;
    }
    const double difference = std::abs(ours.lse[i] - exact.lse[i]);
    if (!(difference <= error)) error = difference;
  }
  worst()["lse (÷ 2e-5)"] = std::max(worst()["lse (÷ 2e-5)"], error / 2e-5);
  EXPECT_TRUE(error <= 2e-5) << "lse: error " << error << "; " << text;
  EXPECT_EQ(blind, 0) << "lse: not finite in the wrong place; " << text;
}

}  // namespace

void expect_correct(GpuCase& problem) {
  constexpr double kFloor = 1e-7;
  const CaseResults exact = problem.reference(false), plain = problem.reference(true);
  const double d_q_bound = d_q_floor(problem.shape()), d_k_bound = d_k_floor(problem);
  for (const std::string& row : gpu_rows(problem.shape())) {
    SCOPED_TRACE(row);
    const CaseResults ours = problem.run(row);
    expect_close("out", ours, exact, plain, &CaseResults::out, problem, kFloor);
    expect_close("d_q", ours, exact, plain, &CaseResults::d_q, problem, d_q_bound);
    expect_close("d_k", ours, exact, plain, &CaseResults::d_k, problem, d_k_bound);
    expect_close("d_v", ours, exact, plain, &CaseResults::d_v, problem, kFloor);
    if (problem.shape().sinks) {
      expect_close("d_sinks", ours, exact, plain, &CaseResults::d_sinks, problem, kFloor);
    }
    expect_lse(ours, exact, problem.text());
    EXPECT_EQ(problem.overwritten(), 0) << problem.text();
  }
}

std::string worst_so_far() {
  std::string text = "worst error as a share of its bound:";
  for (const auto& [name, ratio] : worst()) text += str("  ", name, " ", ratio);
  return text;
}

}  // namespace heddle::test
