// The GPU rows of the table in a build without CUDA: they never apply, and batches are refused.
#include "heddle/attention/cuda/batched.h"
#include "heddle/attention/cuda/cuda.h"

namespace heddle::attention::cuda {

bool short_applies(const Args&, Pass) { return false; }
bool short_pays(const Args&, Pass) { return false; }
void short_forward(const Args&) {}
void short_backward(const Args&, const Gradients&) {}
bool sm90_applies(const Args&, Pass) { return false; }
void sm90_forward(const Args&) {}
void sm90_backward(const Args&, const Gradients&) {}
bool sm80_applies(const Args&, Pass) { return false; }
void sm80_forward(const Args&) {}
void sm80_backward(const Args&, const Gradients&) {}

namespace {

[[noreturn]] void refuse() {
  detail::throw_error("attention: this build has no CUDA. Hint: configure with -DHEDDLE_CUDA=ON");
}

}  // namespace

void forward(const BatchArgs&) { refuse(); }
void backward(const BatchArgs&, const Gradients&) { refuse(); }
std::vector<TilePlan> tile_plans(Device, int, bool, bool, int) { refuse(); }

}  // namespace heddle::attention::cuda
