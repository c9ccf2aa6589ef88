// Attention of a batch of equally long sequences on a GPU in one launch: attention.h with one more
// axis in front. The table's rows cuda-sm80 and cuda-sm90 are this with a batch of one.
#pragma once

#include <optional>
#include <vector>

#include "heddle/attention/attention.h"
#include "heddle/attention/cuda/launch.h"
#include "heddle/attention/cuda/tiles.h"
#include "heddle/mask/device_mask.h"

namespace heddle::attention::cuda {

struct BatchArgs {
  Tensor q;    ///< [B, Tq, H, E]
  Tensor k;    ///< [B, Tk, K, E]
  Tensor v;    ///< [B, Tk, K, E]
  Tensor out;  ///< [B, Tq, H, E]
  Tensor lse;  ///< f32 [B, H, Tq]

  DeviceMask* mask = nullptr;  ///< one for all sequences, or one a sequence
  heddle::cuda::Context* context = nullptr;

  std::optional<double> scale{};  ///< the rest as in Args
  double softcap = 0;
  Tensor sinks{};
  Tensor alibi_slopes{};
  bool deterministic = false;
  int compute_capability = 0;  ///< kernels and tiles of another GPU, as 86; 0: of the one it is
};

/// Computes out and lse by the fastest kernels for the GPU: bf16 or fp16, E a multiple of 8 up to
/// 256, rows aligned to 16 bytes.
void forward(const BatchArgs& args);

/// Overwrites the gradients, [B, …] as well (d_sinks: [H]).
void backward(const BatchArgs& args, const Gradients& gradients);

/// The plans that forward, and backward if so, will ask a mask for, forward's first.
std::vector<TilePlan> tile_plans(Device device, int head_dim, bool with_backward,
                                 bool deterministic, int compute_capability = 0);

/// Throws unless kernels can run on these tensors; says what was found.
void check(const BatchArgs& args);
void check(const BatchArgs& args, const Gradients& gradients);

/// The launch of checked tensors, but for the plan, its section and scratch memory.
ForwardLaunch forward_launch(const BatchArgs& args);
BackwardLaunch backward_launch(const BatchArgs& args, const Gradients& gradients);

/// How many sequences × key/value heads share the L2 cache at a time when the blocks of each read
/// `bytes` over and over.
int32_t pairs_a_section(int64_t bytes, int64_t pairs);

/// The rows that Args describes, as a batch of one.
Tensor as_batch(const Tensor& tensor);
BatchArgs as_batch(const Args& args, DeviceMask& mask);
Gradients as_batch(const Gradients& gradients);

/// The mask of Args on the GPU: the caller's, or one made for this call.
class MaskOnDevice {
 public:
  explicit MaskOnDevice(const Args& args);
  DeviceMask& operator*() { return *mask_; }

 private:
  std::optional<DeviceMask> own_;
  DeviceMask* mask_;
};

namespace sm80 {
void forward(const BatchArgs& args);
void backward(const BatchArgs& args, const Gradients& gradients);
}  // namespace sm80

namespace sm90 {
bool runs_on(Device device);
bool has_backward(Device device, int64_t head_dim, bool deterministic);
void forward(const BatchArgs& args);
void backward(const BatchArgs& args, const Gradients& gradients);
}  // namespace sm90

/// What a block of kernels of family 80 may have, on the GPU or on one of compute capability `as`.
SharedMemory shared_memory_of(Device device, int as);

/// True when kernels can load the tensor's rows 16 bytes at a time; [T, heads, E] or [B, …].
bool is_aligned(const Tensor& tensor);

}  // namespace heddle::attention::cuda
