// The GPU's memory in a build without CUDA: there is none.
#include "heddle/tensor/cuda.h"

namespace heddle::cuda {

namespace {

[[noreturn]] void refuse() {
  detail::throw_error("CUDA: this build has none. Hint: build where nvcc is, with HEDDLE_CUDA=ON");
}

}  // namespace

struct CachingAllocator::State {};

void check(int, const char*) {}
bool is_built() { return false; }
int device_count() { return 0; }
int compute_capability(int) { refuse(); }
int multiprocessors(int) { refuse(); }
std::string device_name(int) { refuse(); }
size_t free_memory(int) { refuse(); }
size_t shared_memory_per_block(int) { refuse(); }

DeviceGuard::DeviceGuard(int) { refuse(); }
DeviceGuard::~DeviceGuard() { static_cast<void>(before_); }
uint64_t capture_of(StreamHandle) { refuse(); }

CachingAllocator::CachingAllocator(int) { refuse(); }
CachingAllocator::~CachingAllocator() = default;
std::shared_ptr<Buffer> CachingAllocator::allocate(size_t) { refuse(); }
size_t CachingAllocator::held() const { return 0; }
void CachingAllocator::trim() {}

Allocator& block_allocator(int) { refuse(); }
Allocator& pinned_allocator() { refuse(); }

Context::Context(int device) : Context(device, nullptr) {}
Context::Context(int device, StreamHandle)
    : device_(device), owns_stream_(false), own_memory_(device), memory_(&*own_memory_) {}
Context::Context(int device, StreamHandle, Allocator& memory)
    : device_(device), owns_stream_(false), memory_(&memory) {
  refuse();
}
Context::~Context() { static_cast<void>(owns_stream_); }
void Context::synchronize() const {}

void wait_quietly(StreamHandle) noexcept {}

Event::Event() { refuse(); }
Event::~Event() { static_cast<void>(event_); }
void Event::record(StreamHandle) {}
void Event::wait_in(StreamHandle) const {}
void Event::wait() const {}
double Event::milliseconds_since(const Event&) const { return 0; }

Graph::Graph(StreamHandle, const std::function<void()>&) { refuse(); }
Graph::~Graph() { static_cast<void>(graph_); }
void Graph::launch(StreamHandle) const {}

void copy(const Tensor&, const Tensor&, StreamHandle) { refuse(); }
void zero(const Tensor&, StreamHandle) { refuse(); }
Tensor to_gpu(const Tensor&, Context&) { refuse(); }
Tensor to_host(const Tensor&, Context&) { refuse(); }

}  // namespace heddle::cuda
