// Memory: counted buffers, and the allocators that hand them out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace heddle {

enum class DeviceType : uint8_t { cpu, cuda };

/// Where memory lives; `index` tells GPUs apart.
struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;
  bool operator==(const Device&) const = default;
};

/// A piece of memory that is given back when its last holder goes.
class Buffer {
 public:
  Buffer(void* data, size_t bytes, Device device) : data_(data), bytes_(bytes), device_(device) {}
  virtual ~Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  Device device() const { return device_; }

 private:
  void* data_;
  size_t bytes_;
  Device device_;
};

class Allocator {
 public:
  virtual ~Allocator() = default;
  virtual std::shared_ptr<Buffer> allocate(size_t bytes) = 0;
};

/// Alignment of every host buffer: a cache line, and the widest vector register.
inline constexpr size_t kHostAlignment = 64;

/// Ordinary host memory, uninitialised.
Allocator& host_allocator();

/// Memory for one step: buffers are cut from one block and all given back by `reset`.
class Arena : public Allocator {
 public:
  explicit Arena(size_t capacity, Allocator& from = host_allocator());

  /// Throws when the block is full, with the capacity that would have been enough so far.
  std::shared_ptr<Buffer> allocate(size_t bytes) override;

  /// Makes the whole block free again. Throws while a buffer is still held.
  void reset();

  size_t capacity() const { return block_->bytes(); }
  size_t used() const { return used_; }
  size_t peak() const { return peak_; }  ///< most bytes ever used between two resets

 private:
  std::shared_ptr<Buffer> block_;
  size_t used_ = 0;
  size_t peak_ = 0;
};

}  // namespace heddle
