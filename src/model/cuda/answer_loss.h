// The loss of answers on a GPU, as ../answer_loss.h has it: numbers of the answers go to the host,
// the slopes of their loss come back. Logits are those of some rows at a time, read once for values
// and gradients where the output projection is not trained.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "heddle/model/answer_loss.h"
#include "heddle/model/cuda/batch.h"
#include "heddle/model/cuda/output_loss.h"

namespace heddle::model::cuda {

/// Page-locked memory through which arrays go, one at a time.
class Exchange {
 public:
  explicit Exchange(autograd::cuda::Machine& machine) : machine_(machine) {}

  /// Waits for the GPU.
  template <typename T>
  std::vector<T> read(const T* from, int64_t count) {
    std::vector<T> values(static_cast<size_t>(count));
    read_bytes(from, std::as_writable_bytes(std::span(values)));
    return values;
  }

  /// Takes memory for them in `scratch`. The next one may only go when this has arrived.
  template <typename T>
  T* write(std::span<const T> values) {
    T* to = machine_.scratch.take<T>(std::ssize(values));
    write_bytes(std::as_bytes(values), to);
    return to;
  }

 private:
  Tensor hosts_part(int64_t bytes);
  Tensor gpus_part(void* at, int64_t bytes) const;
  void read_bytes(const void* from, std::span<std::byte> values);
  void write_bytes(std::span<const std::byte> values, void* to);

  autograd::cuda::Machine& machine_;
  Tensor memory_;  // i8
};

/// A batch of groups with what is learned of them.
struct AnsweredBatch {
  const TrainingBatch& batch;
  const DeviceBatch& placed;
  double gradient_scale = 1;
};

class DeviceAnswerLoss {
 public:
  DeviceAnswerLoss(const Weights& weights, const DeviceParameters& parameters,
                   autograd::cuda::Machine& machine, Exchange& exchange)
      : weights_(weights),
        parameters_(parameters),
        machine_(machine),
        exchange_(exchange),
        output_(weights, parameters, machine) {}

  /// The loss of hidden [T, D]. Its gradient is written to d_hidden, and that of the output's table
  /// added to the parameters', unless d_hidden has none.
  LossSums run(const AnsweredBatch& of, const ops::cuda::Rows& hidden,
               ops::cuda::RowsView d_hidden);

 private:
  LossSums of_scores(const AnsweredBatch& of, const ops::cuda::Rows& last,
                     ops::cuda::RowsView d_hidden);
  LossSums of_log_probabilities(const AnsweredBatch& of, const ops::cuda::Rows& rows,
                                ops::cuda::RowsView d_hidden);
  ops::cuda::Rows take_rows(int64_t count, int64_t width);

  /// d_hidden [T, D] = the sum of d_rows [L, D], each times its factor, by their places.
  void scatter(const AnsweredBatch& of, const ops::cuda::Rows& d_rows, const float* factors,
               ops::cuda::RowsView d_hidden);

  const Weights& weights_;
  const DeviceParameters& parameters_;
  autograd::cuda::Machine& machine_;
  Exchange& exchange_;
  OutputLoss output_;
};

}  // namespace heddle::model::cuda
