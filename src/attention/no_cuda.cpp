// The GPU rows of the table in a build without CUDA: they never apply.
#include "heddle/attention/cuda/cuda.h"

namespace heddle::attention::cuda {

bool sm80_applies(const Args&, Pass) { return false; }
void sm80_forward(const Args&) {}
void sm80_backward(const Args&, const Gradients&) {}

}  // namespace heddle::attention::cuda
