// GPU memory, streams, events and copies. Compiled by the host compiler alone; a build without CUDA
// links no_cuda.cpp, where `device_count` is 0 and everything else throws.
//
// Work is queued on streams. Memory from a Context is handed out again as soon as its last holder
// goes, though the GPU may still use it: safe, because every user of it is queued on that one
// stream.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "heddle/base/error.h"
#include "heddle/tensor/buffer.h"
#include "heddle/tensor/tensor.h"

struct CUstream_st;
struct CUevent_st;
struct CUgraphExec_st;

namespace heddle::cuda {

using StreamHandle = CUstream_st*;  ///< the same as cudaStream_t; null is the default stream

/// Throws with CUDA's own text for the error unless `status` (a cudaError_t) is success.
void check(int status, const char* what);

/// Whether this build has kernels for GPUs.
bool is_built();

/// GPUs that can be used; 0 without a driver.
int device_count();

/// Major × 10 + minor, as in sm_90.
int compute_capability(int device);

int multiprocessors(int device);

/// "NVIDIA H200".
std::string device_name(int device);

/// Bytes of a GPU's memory that nobody has taken.
size_t free_memory(int device);

/// Shared memory that one block may ask for.
size_t shared_memory_per_block(int device);

/// Makes a GPU current for a scope.
class DeviceGuard {
 public:
  explicit DeviceGuard(int device);
  ~DeviceGuard();
  DeviceGuard(const DeviceGuard&) = delete;
  DeviceGuard& operator=(const DeviceGuard&) = delete;

 private:
  int before_ = 0;
};

/// Names the capture into a CUDA graph that a stream is in; 0: it is in none.
uint64_t capture_of(StreamHandle stream);

/// A GPU's memory, kept for reuse: a freed buffer goes to a list by size, not back to the driver.
/// Belongs to one stream, see above. Not for use by several threads at once.
class CachingAllocator : public Allocator {
 public:
  explicit CachingAllocator(int device);
  ~CachingAllocator() override;

  std::shared_ptr<Buffer> allocate(size_t bytes) override;

  size_t held() const;  ///< bytes taken from the driver, in use or kept
  void trim();          ///< gives back what is not in use

 private:
  struct State;
  std::shared_ptr<State> state_;  // outlives the allocator while buffers are out
};

/// A GPU's memory straight from the driver and back to it, for a few large blocks.
Allocator& block_allocator(int device);

/// Page-locked host memory, which copies to and from the GPU run from without a detour.
Allocator& pinned_allocator();

/// What work on one GPU stream needs: the stream and its memory.
class Context {
 public:
  explicit Context(int device = 0);          ///< makes a stream of its own
  Context(int device, StreamHandle stream);  ///< works on the caller's stream

  /// … and with the caller's memory, whose buffers may be used again as soon as they are given
  /// back, on that stream. Never waits for the GPU.
  Context(int device, StreamHandle stream, Allocator& memory);

  ~Context();
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  Device device() const { return {DeviceType::cuda, device_}; }
  StreamHandle stream() const { return stream_; }
  Allocator& memory() { return *memory_; }
  void synchronize() const;  ///< returns when all work queued so far is done

 private:
  int device_;
  bool owns_stream_;
  StreamHandle stream_ = nullptr;
  std::optional<CachingAllocator> own_memory_;
  Allocator* memory_;
};

/// Returns when a stream's work is done, or has failed: for ways out that must not throw.
void wait_quietly(StreamHandle stream) noexcept;

/// A point in a stream's work, with its time.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(StreamHandle stream);
  void wait_in(StreamHandle stream) const;  ///< later work of that stream waits for it
  void wait() const;  ///< returns when it was reached; at once when never recorded
  double milliseconds_since(const Event& earlier) const;  ///< waits for both

 private:
  CUevent_st* event_ = nullptr;
};

/// Work of one stream, kept to be queued again as a whole: one launch instead of many. Memory that
/// it uses must stay where it is.
class Graph {
 public:
  /// Takes up what `work` queues on the stream, which is not done by this; may throw, and then the
  /// stream is as before. Work queued must not wait, nor allocate GPU memory.
  Graph(StreamHandle stream, const std::function<void()>& work);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch(StreamHandle stream) const;

 private:
  CUgraphExec_st* graph_ = nullptr;
};

/// Queues a copy between equal shapes and dtypes, both contiguous, host or GPU on either side. From
/// ordinary host memory the numbers are taken before it returns; a copy to the host is done after
/// `synchronize`.
void copy(const Tensor& from, const Tensor& to, StreamHandle stream);

/// Queues filling a tensor's memory with zero bits; contiguous.
void zero(const Tensor& tensor, StreamHandle stream);

/// A contiguous copy on the GPU, or on the host (which waits for it).
Tensor to_gpu(const Tensor& tensor, Context& context);
Tensor to_host(const Tensor& tensor, Context& context);

}  // namespace heddle::cuda

/// Throws heddle::Error when a CUDA call fails.
#define HEDDLE_CUDA_CHECK(call) ::heddle::cuda::check(static_cast<int>(call), #call)
