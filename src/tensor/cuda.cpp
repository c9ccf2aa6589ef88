#include "heddle/tensor/cuda.h"

#include <cuda_runtime_api.h>

#include <bit>
#include <map>
#include <mutex>
#include <vector>

namespace heddle::cuda {

namespace {

/// Sizes are rounded up to one of eight steps an octave, so that nearly equal ones share a list and
/// at most an eighth is wasted.
size_t rounded(size_t bytes) {
  constexpr size_t kSmallest = 512;
  if (bytes <= kSmallest) return kSmallest;
  const size_t step = std::bit_floor(bytes - 1) / 8;
  return (bytes + step - 1) / step * step;
}

class PinnedBuffer : public Buffer {
 public:
  explicit PinnedBuffer(size_t bytes) : Buffer(allocate(bytes), bytes, Device{}) {}
  ~PinnedBuffer() override { cudaFreeHost(data()); }

 private:
  static void* allocate(size_t bytes) {
    void* data = nullptr;
    HEDDLE_CUDA_CHECK(cudaMallocHost(&data, bytes == 0 ? 1 : bytes));
    return data;
  }
};

class PinnedAllocator : public Allocator {
 public:
  std::shared_ptr<Buffer> allocate(size_t bytes) override {
    return std::make_shared<PinnedBuffer>(bytes);
  }
};

int attribute(cudaDeviceAttr name, int device) {
  int value = 0;
  HEDDLE_CUDA_CHECK(cudaDeviceGetAttribute(&value, name, device));
  return value;
}

size_t bytes_of(const Tensor& tensor) {
  return static_cast<size_t>(tensor.elements()) * size_of(tensor.dtype());
}

}  // namespace

void check(int status, const char* what) {
  if (status == cudaSuccess) return;
  const auto error = static_cast<cudaError_t>(status);
  cudaGetLastError();  // so that the next call does not report it again
  detail::throw_error(str("CUDA: ", what, " failed with ", cudaGetErrorName(error), ": ",
                          cudaGetErrorString(error)));
}

bool is_built() { return true; }

int device_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

int compute_capability(int device) {
  return attribute(cudaDevAttrComputeCapabilityMajor, device) * 10 +
         attribute(cudaDevAttrComputeCapabilityMinor, device);
}

int multiprocessors(int device) { return attribute(cudaDevAttrMultiProcessorCount, device); }

std::string device_name(int device) {
  cudaDeviceProp properties{};
  HEDDLE_CUDA_CHECK(cudaGetDeviceProperties(&properties, device));
  return properties.name;
}

size_t free_memory(int device) {
  const DeviceGuard guard(device);
  size_t free = 0, total = 0;
  HEDDLE_CUDA_CHECK(cudaMemGetInfo(&free, &total));
  return free;
}

size_t shared_memory_per_block(int device) {
  return static_cast<size_t>(attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
}

DeviceGuard::DeviceGuard(int device) {
  HEDDLE_CUDA_CHECK(cudaGetDevice(&before_));
  if (device != before_) HEDDLE_CUDA_CHECK(cudaSetDevice(device));
}

DeviceGuard::~DeviceGuard() { cudaSetDevice(before_); }

uint64_t capture_of(StreamHandle stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  unsigned long long id = 0;
  HEDDLE_CUDA_CHECK(cudaStreamGetCaptureInfo(stream, &status, &id));
  return status == cudaStreamCaptureStatusActive ? id : 0;
}

struct CachingAllocator::State {
  int device = 0;
  size_t held = 0;
  bool closed = false;  // the allocator is gone: freed buffers go back to the driver
  std::mutex mutex;     // a buffer's last holder may be on any thread
  std::map<size_t, std::vector<void*>> free;  // by size

  ~State() { trim(); }

  void* take(size_t bytes) {
    const std::lock_guard lock(mutex);
    auto& list = free[bytes];
    if (!list.empty()) {
      void* data = list.back();
      list.pop_back();
      return data;
    }
    const DeviceGuard guard(device);
    void* data = nullptr;
    cudaError_t status = cudaMalloc(&data, bytes);
    if (status == cudaErrorMemoryAllocation) {  // what is kept in other sizes may be enough
      cudaGetLastError();
      trim();
      status = cudaMalloc(&data, bytes);
    }
    HEDDLE_CHECK(status == cudaSuccess, "out of GPU memory: asked for ", bytes, " bytes with ",
                 held, " held; CUDA says ", cudaGetErrorString(status));
    held += bytes;
    return data;
  }

  void give(void* data, size_t bytes) {
    const std::lock_guard lock(mutex);
    if (closed) {
      cudaFree(data);
    } else {
      free[bytes].push_back(data);
    }
  }

  void trim() {
    for (auto& [bytes, list] : free) {
      for (void* data : list) cudaFree(data);
      held -= bytes * list.size();
      list.clear();
    }
  }
};

CachingAllocator::CachingAllocator(int device) : state_(std::make_shared<State>()) {
  state_->device = device;
}

CachingAllocator::~CachingAllocator() {
  const std::lock_guard lock(state_->mutex);
  state_->closed = true;
  state_->trim();
}

std::shared_ptr<Buffer> CachingAllocator::allocate(size_t bytes) {
  class GpuBuffer : public Buffer {
   public:
    GpuBuffer(void* data, size_t size, size_t taken, const std::shared_ptr<State>& state)
        : Buffer(data, size, {DeviceType::cuda, state->device}), taken_(taken), state_(state) {}
    ~GpuBuffer() override { state_->give(data(), taken_); }

   private:
    size_t taken_;
    std::shared_ptr<State> state_;
  };
  const size_t taken = rounded(bytes);
  return std::make_shared<GpuBuffer>(state_->take(taken), bytes, taken, state_);
}

size_t CachingAllocator::held() const {
  const std::lock_guard lock(state_->mutex);
  return state_->held;
}

void CachingAllocator::trim() {
  const std::lock_guard lock(state_->mutex);
  state_->trim();
}

Allocator& block_allocator(int device) {
  class BlockAllocator : public Allocator {
   public:
    explicit BlockAllocator(int index) : device_(index) {}
    std::shared_ptr<Buffer> allocate(size_t bytes) override {
      class Block : public Buffer {
       public:
        using Buffer::Buffer;
        ~Block() override { cudaFree(data()); }
      };
      const DeviceGuard guard(device_);
      void* data = nullptr;
      const cudaError_t status = cudaMalloc(&data, bytes);
      if (status == cudaErrorMemoryAllocation) cudaGetLastError();
      HEDDLE_CHECK(status != cudaErrorMemoryAllocation, "out of GPU memory: asked for ", bytes,
                   " bytes. Hint: smaller batches, or less kept of each layer");
      HEDDLE_CUDA_CHECK(status);
      return std::make_shared<Block>(data, bytes, Device{DeviceType::cuda, device_});
    }

   private:
    int device_;
  };
  static std::mutex mutex;
  static std::map<int, BlockAllocator> allocators;
  const std::lock_guard lock(mutex);
  return allocators.try_emplace(device, device).first->second;
}

Allocator& pinned_allocator() {
  static PinnedAllocator allocator;
  return allocator;
}

Context::Context(int device)
    : device_(device), owns_stream_(true), own_memory_(device), memory_(&*own_memory_) {
  const DeviceGuard guard(device);
  HEDDLE_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
}

Context::Context(int device, StreamHandle stream)
    : device_(device),
      owns_stream_(false),
      stream_(stream),
      own_memory_(device),
      memory_(&*own_memory_) {}

Context::Context(int device, StreamHandle stream, Allocator& memory)
    : device_(device), owns_stream_(false), stream_(stream), memory_(&memory) {}

Context::~Context() {
  if (own_memory_) cudaStreamSynchronize(stream_);
  if (owns_stream_) cudaStreamDestroy(stream_);
}

void Context::synchronize() const { HEDDLE_CUDA_CHECK(cudaStreamSynchronize(stream_)); }

void wait_quietly(StreamHandle stream) noexcept { cudaStreamSynchronize(stream); }

Event::Event() { HEDDLE_CUDA_CHECK(cudaEventCreate(&event_)); }
Event::~Event() { cudaEventDestroy(event_); }
void Event::record(StreamHandle stream) { HEDDLE_CUDA_CHECK(cudaEventRecord(event_, stream)); }
void Event::wait_in(StreamHandle stream) const {
  HEDDLE_CUDA_CHECK(cudaStreamWaitEvent(stream, event_, 0));
}

void Event::wait() const { HEDDLE_CUDA_CHECK(cudaEventSynchronize(event_)); }

double Event::milliseconds_since(const Event& earlier) const {
  HEDDLE_CUDA_CHECK(cudaEventSynchronize(event_));
  float milliseconds = 0;
  HEDDLE_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, earlier.event_, event_));
  return milliseconds;
}

Graph::Graph(StreamHandle stream, const std::function<void()>& work) {
  // Of this thread alone: others go on allocating meanwhile.
  HEDDLE_CUDA_CHECK(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  cudaGraph_t taken = nullptr;
  try {
    work();
  } catch (...) {
    cudaStreamEndCapture(stream, &taken);
    if (taken != nullptr) cudaGraphDestroy(taken);
    cudaGetLastError();
    throw;
  }
  HEDDLE_CUDA_CHECK(cudaStreamEndCapture(stream, &taken));
  const cudaError_t status = cudaGraphInstantiate(&graph_, taken, 0);
  cudaGraphDestroy(taken);
  HEDDLE_CUDA_CHECK(status);
}

Graph::~Graph() { cudaGraphExecDestroy(graph_); }

void Graph::launch(StreamHandle stream) const {
  HEDDLE_CUDA_CHECK(cudaGraphLaunch(graph_, stream));
}

void copy(const Tensor& from, const Tensor& to, StreamHandle stream) {
  HEDDLE_CHECK(from.shape() == to.shape() && from.dtype() == to.dtype(), "copy: from ",
               name_of(from.dtype()), " ", from.shape().text(), " to ", name_of(to.dtype()), " ",
               to.shape().text(), "; expected the same");
  HEDDLE_CHECK(from.is_contiguous() && to.is_contiguous(),
               "copy: found a tensor with gaps; expected both contiguous");
  HEDDLE_CUDA_CHECK(
      cudaMemcpyAsync(to.raw(), from.raw(), bytes_of(from), cudaMemcpyDefault, stream));
}

void zero(const Tensor& tensor, StreamHandle stream) {
  HEDDLE_CHECK(tensor.is_contiguous(), "zero: found a tensor with gaps; expected contiguous");
  HEDDLE_CUDA_CHECK(cudaMemsetAsync(tensor.raw(), 0, bytes_of(tensor), stream));
}

Tensor to_gpu(const Tensor& tensor, Context& context) {
  Tensor result = Tensor::empty(tensor.shape(), tensor.dtype(), context.memory());
  copy(tensor, result, context.stream());
  return result;
}

Tensor to_host(const Tensor& tensor, Context& context) {
  Tensor result = Tensor::empty(tensor.shape(), tensor.dtype());
  copy(tensor, result, context.stream());
  context.synchronize();
  return result;
}

}  // namespace heddle::cuda
