// The loss of rows of logits (ops/cross_entropy.h), which become their own gradients.
//
// A block works on a row. Each thread keeps a share of it in registers, as it was read, and the
// largest logit m of its share with Σ exp(logit − m); these are joined once. Rows too long for
// registers are read in batches: the last is still there for the gradients, the others are read
// again, the latest first.
#include "heddle/ops/cuda/common.cuh"

namespace heddle::ops::cuda {

namespace {

constexpr float kLowest = -3.402823466e38f;  // so that −∞ − m is never NaN
constexpr int kMostWarps = 16;

/// Of some logits: the largest, Σ exp(logit − most) and Σ logit.
struct Tally {
  float most = kLowest, mass = 0, total = 0;

  __device__ void add(const Eight& x) {
    float largest = most;
#pragma unroll
    for (int i = 0; i < kVector; ++i) largest = fmaxf(largest, x.at[i]);
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kVector; ++i) {
      sum += fast_exp(x.at[i] - largest);
      total += x.at[i];
    }
    mass = mass * fast_exp(most - largest) + sum;
    most = largest;
  }
  __device__ void add(float x) {
    const float largest = fmaxf(most, x);
    mass = mass * fast_exp(most - largest) + fast_exp(x - largest);
    total += x;
    most = largest;
  }
};

/// What a warp, and then all threads of a block, know of their row.
struct RowTally {
  float most;
  double mass, total;
};

__device__ RowTally tally_of_block(const Tally& mine, RowTally* shared) {
  const int thread = static_cast<int>(threadIdx.x), warps = static_cast<int>(blockDim.x) / 32;
  float most = mine.most;
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    most = fmaxf(most, __shfl_xor_sync(kAllLanes, most, step));
  }
  const double mass =
      sum_over_lanes<32>(static_cast<double>(mine.mass * fast_exp(mine.most - most)));
  const double total = sum_over_lanes<32>(static_cast<double>(mine.total));
  if (thread % 32 == 0) shared[thread / 32] = {most, mass, total};
  __syncthreads();
  RowTally row{kLowest, 0, 0};
  for (int warp = 0; warp < warps; ++warp) row.most = fmaxf(row.most, shared[warp].most);
  for (int warp = 0; warp < warps; ++warp) {
    const RowTally& part = shared[warp];
    row.mass += part.mass * static_cast<double>(fast_exp(part.most - row.most));
    row.total += part.total;
  }
  return row;
}

/// What the teacher says of a row: its k best tokens, made to sum to 1.
struct Teacher {
  const int32_t* ids;
  const float* logs;
  int count;
  double log_total;
  bool given;
  double entropy, logit;  // Σ q ln q, Σ q · logit

  /// q of choice k; 0: none.
  __device__ double share(int k, double* log_q) const {
    *log_q = static_cast<double>(logs[k]) - log_total;
    return ids[k] >= 0 && *log_q > -__longlong_as_double(0x7ff0000000000000) ? exp(*log_q) : 0;
  }
};

/// By one warp; `logits` [count] keeps those of its choices from before they become gradients.
__device__ void ask_teacher(const CrossEntropyRows& p, int64_t row, Teacher& shared,
                            float* logits) {
  Teacher teacher{p.teacher_ids + row * p.teacher_count,
                  p.teacher_log_probabilities + row * p.teacher_count,
                  p.teacher_count,
                  0,
                  false,
                  0,
                  0};
  const int lane = static_cast<int>(threadIdx.x);
  double total = 0, log_q = 0;
  for (int k = lane; k < teacher.count; k += 32) total += teacher.share(k, &log_q);
  total = sum_over_lanes<32>(total);
  teacher.log_total = log(total);
  teacher.given = total > 0;
  for (int k = lane; k < teacher.count; k += 32) {
    const double q = teacher.share(k, &log_q);
    if (!(q > 0)) continue;
    logits[k] = to_float(p.logits.data[row * p.logits.stride + teacher.ids[k]]);
    teacher.entropy += q * log_q;
    teacher.logit += q * static_cast<double>(logits[k]);
  }
  teacher.entropy = sum_over_lanes<32>(teacher.entropy);
  teacher.logit = sum_over_lanes<32>(teacher.logit);
  if (lane == 0) shared = teacher;
}

/// d_logit = factor · exp(logit − most) − uniform, and − of_label at the label.
struct Slopes {
  float most, factor, uniform, of_label;
  int32_t label;

  __device__ float at(float logit) const { return fast_exp(logit - most) * factor - uniform; }
};

/// By one thread.
__device__ RowLoss loss_of(const CrossEntropyRows& p, const RowTally& row, const Teacher* teacher,
                           float label_logit, double weight) {
  const double log_z = static_cast<double>(row.most) + log(row.mass);
  const double smoothing = static_cast<double>(p.label_smoothing);
  const double lambda = teacher != nullptr ? static_cast<double>(p.teacher_weight) : 0;
  const double nll = log_z - static_cast<double>(label_logit);
  double value = (1 - smoothing) * nll;
  const double mean = row.total / static_cast<double>(p.vocabulary);
  if (smoothing > 0) value += smoothing * (log_z - mean);
  value *= 1 - lambda;
  if (lambda > 0) value += lambda * (teacher->entropy + log_z - teacher->logit);
  value += static_cast<double>(p.z_loss) * log_z * log_z;
  return {static_cast<float>(weight * value), static_cast<float>(weight * nll),
          static_cast<float>(weight), label_logit >= row.most ? 1 : 0, static_cast<float>(mean)};
}

__device__ Slopes slopes_of(const CrossEntropyRows& p, const RowTally& row, float lambda,
                            float weight, int32_t label) {
  const float scale = weight * p.gradient_scale;
  const auto mass = static_cast<float>(row.mass);
  const float log_z = row.most + logf(mass);
  return {row.most, scale * (1 + 2 * p.z_loss * log_z) / mass,
          scale * (1 - lambda) * p.label_smoothing / static_cast<float>(p.vocabulary),
          scale * (1 - lambda) * (1 - p.label_smoothing), label};
}

/// A block's row: whole vectors [count], then up to 7 logits, one for each of the first threads.
template <int kBlock>
struct LogitRow {
  BFloat16* data;
  int count, tail;

  __device__ LogitRow(const CrossEntropyRows& p, int64_t row)
      : data(p.logits.data + row * p.logits.stride),
        count(static_cast<int>(p.vocabulary / kVector)),
        tail(static_cast<int>(p.vocabulary % kVector)) {}

  __device__ uint4& vector(int i) const { return reinterpret_cast<uint4*>(data)[i]; }
  __device__ bool has_single() const { return static_cast<int>(threadIdx.x) < tail; }
  __device__ BFloat16& single() const { return data[count * kVector + threadIdx.x]; }

  __device__ void fill_with_zeros() const {
    for (int i = static_cast<int>(threadIdx.x); i < count; i += kBlock) vector(i) = uint4{};
    if (has_single()) single().bits = 0;
  }

  template <int kVectors>
  __device__ void load(int first, uint4 (&words)[kVectors]) const {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int at = first + i * kBlock;
      if (at < count) words[i] = vector(at);
    }
  }

  template <int kVectors>
  __device__ void differentiate(int first, const uint4 (&words)[kVectors],
                                const Slopes& slopes) const {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int at = first + i * kBlock;
      if (at >= count) continue;
      Eight x = unpack(words[i]);
#pragma unroll
      for (int j = 0; j < kVector; ++j) x.at[j] = slopes.at(x.at[j]);
      if (slopes.label / kVector == at) {
#pragma unroll
        for (int j = 0; j < kVector; ++j) {
          x.at[j] -= slopes.label % kVector == j ? slopes.of_label : 0.0f;
        }
      }
      vector(at) = pack(x);
    }
  }
};

/// Writes the gradients of the teacher's tokens anew, from the logits that were kept.
__device__ void subtract_teacher(const CrossEntropyRows& p, const Teacher& teacher,
                                 const float* logits, const Slopes& slopes, int64_t row,
                                 double scale) {
  __syncthreads();
  for (int k = static_cast<int>(threadIdx.x); k < teacher.count;
       k += static_cast<int>(blockDim.x)) {
    double log_q = 0;
    if (!(teacher.share(k, &log_q) > 0)) continue;
    const int32_t id = teacher.ids[k];
    float d = slopes.at(logits[k]) - (id == slopes.label ? slopes.of_label : 0.0f);
    for (int i = 0; i < teacher.count; ++i) {
      if (teacher.ids[i] == id) d -= static_cast<float>(scale * teacher.share(i, &log_q));
    }
    p.logits.data[row * p.logits.stride + id].bits =
        bits_of(d);  // the same for a token named twice
  }
}

template <int kVectors, int kBlock>
__global__ void __launch_bounds__(kBlock, 1024 / kBlock)
    cross_entropy_kernel(const __grid_constant__ CrossEntropyRows p) {
  __shared__ RowTally tallies[kMostWarps];
  __shared__ Teacher teacher;
  __shared__ float label_logit;
  extern __shared__ float teacher_logits[];  // [teacher_count]
  constexpr int kBatch = kVectors * kBlock;
  const int64_t row = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  const int32_t label = p.labels[row];
  const float weight = p.weights != nullptr ? p.weights[row] : 1.0f;
  const LogitRow<kBlock> logits(p, row);
  if (label < 0 || weight == 0) {
    if (p.wants_gradient) logits.fill_with_zeros();
    if (thread == 0) p.losses[row] = {0, 0, 0, 0};
    return;
  }
  if (thread == 0) label_logit = to_float(logits.data[label]);  // before it becomes a gradient
  const bool asks = p.teacher_weight > 0;
  if (asks && thread < 32) ask_teacher(p, row, teacher, teacher_logits);

  uint4 words[kVectors];
  Tally tally;
  const int last = (logits.count - 1) / kBatch * kBatch;  // batch; 0 too when there are no vectors
  for (int batch = 0; batch <= last; batch += kBatch) {
    logits.load(batch + thread, words);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (batch + thread + i * kBlock < logits.count) tally.add(unpack(words[i]));
    }
  }
  if (logits.has_single()) tally.add(to_float(logits.single()));
  const RowTally whole = tally_of_block(tally, tallies);  // all have read the row, and the teacher

  const bool taught = asks && teacher.given;
  if (thread == 0) {
    p.losses[row] =
        loss_of(p, whole, taught ? &teacher : nullptr, label_logit, static_cast<double>(weight));
  }
  if (!p.wants_gradient) return;
  const Slopes slopes = slopes_of(p, whole, taught ? p.teacher_weight : 0.0f, weight, label);
  for (int batch = last; batch >= 0; batch -= kBatch) {
    if (batch != last) logits.load(batch + thread, words);
    logits.differentiate(batch + thread, words, slopes);
  }
  if (logits.has_single()) {
    const bool is_label = logits.count * kVector + thread == label;
    const float d = slopes.at(to_float(logits.single()));
    logits.single().bits = bits_of(d - (is_label ? slopes.of_label : 0.0f));
  }
  if (taught) {
    const double scale = static_cast<double>(weight) * static_cast<double>(p.gradient_scale) *
                         static_cast<double>(p.teacher_weight);
    subtract_teacher(p, teacher, teacher_logits, slopes, row, scale);
  }
}

constexpr int kSumThreads = 1024;

__global__ void __launch_bounds__(kSumThreads)
    sum_losses_kernel(const RowLoss* losses, int64_t rows, LossTotals* totals) {
  __shared__ double shared[kSumThreads / 32];
  double loss = 0, nll = 0, weight = 0, tokens = 0, correct = 0;  // counts are exact, too
#pragma unroll 4
  for (int64_t row = threadIdx.x; row < rows; row += kSumThreads) {
    const RowLoss one = losses[row];
    loss += static_cast<double>(one.loss);
    nll += static_cast<double>(one.nll);
    weight += static_cast<double>(one.weight);
    tokens += one.weight != 0 ? 1 : 0;
    correct += one.correct;
  }
  loss = sum_over_block(loss, shared);
  nll = sum_over_block(nll, shared);
  weight = sum_over_block(weight, shared);
  tokens = sum_over_block(tokens, shared);
  correct = sum_over_block(correct, shared);
  if (threadIdx.x > 0) return;
  totals->loss += loss;
  totals->nll += nll;
  totals->weight += weight;
  totals->tokens += static_cast<int64_t>(tokens);
  totals->correct += static_cast<int64_t>(correct);
}

}  // namespace

int launch_cross_entropy(const CrossEntropyRows& rows, Stream stream) {
  if (rows.rows == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>(rows.rows);
  const size_t shared =
      rows.teacher_weight > 0 ? static_cast<size_t>(rows.teacher_count) * sizeof(float) : 0;
  if (rows.vocabulary <= 4096) {
    cross_entropy_kernel<4, 128><<<blocks, 128, shared, stream>>>(rows);
  } else if (rows.vocabulary <= 16384) {
    cross_entropy_kernel<8, 256><<<blocks, 256, shared, stream>>>(rows);
  } else {
    cross_entropy_kernel<8, 512><<<blocks, 512, shared, stream>>>(rows);
  }
  return cudaGetLastError();
}

int launch_sum_losses(const RowLoss* losses, int64_t rows, LossTotals* totals, Stream stream) {
  if (rows == 0) return cudaSuccess;
  sum_losses_kernel<<<1, kSumThreads, 0, stream>>>(losses, rows, totals);
  return cudaGetLastError();
}

}  // namespace heddle::ops::cuda
