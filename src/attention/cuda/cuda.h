// The rows of the table for GPUs: they check what the kernels need, find scratch memory and a plan,
// and fill the launch structs. In a build without CUDA they never apply.
#pragma once

#include "heddle/attention/table.h"

namespace heddle::attention::cuda {

/// As sm80, for E up to 64 and without soft-cap, ALiBi or sinks. Pays where rows and keys see few
/// of the others, as in packed sentences.
bool short_applies(const Args& args, Pass pass);
bool short_pays(const Args& args, Pass pass);
void short_forward(const Args& args);
void short_backward(const Args& args, const Gradients& gradients);

/// As below, on compute capability 9.0 alone; the deterministic backward for E up to 128.
bool sm90_applies(const Args& args, Pass pass);
void sm90_forward(const Args& args);
void sm90_backward(const Args& args, const Gradients& gradients);

/// bf16 and fp16 on a GPU from compute capability 8.0 on; E = Ev, a multiple of 8; rows aligned to
/// 16 bytes.
bool sm80_applies(const Args& args, Pass pass);
void sm80_forward(const Args& args);
void sm80_backward(const Args& args, const Gradients& gradients);

}  // namespace heddle::attention::cuda
