#include "heddle/tensor/buffer.h"

#include <algorithm>
#include <new>

#include "heddle/base/error.h"

namespace heddle {

namespace {

class HostBuffer : public Buffer {
 public:
  explicit HostBuffer(size_t bytes)
      : Buffer(::operator new (bytes, std::align_val_t{kHostAlignment}), bytes, Device{}) {}
  ~HostBuffer() override { ::operator delete (data(), std::align_val_t{kHostAlignment}); }
};

class HostAllocator : public Allocator {
 public:
  std::shared_ptr<Buffer> allocate(size_t bytes) override {
    try {
      return std::make_shared<HostBuffer>(bytes);
    } catch (const std::bad_alloc&) {
      detail::throw_error(str("out of host memory: asked for ", bytes, " bytes"));
    }
  }
};

/// A part of an arena's block; holding it keeps the block from being reset.
class ArenaBuffer : public Buffer {
 public:
  ArenaBuffer(std::shared_ptr<Buffer> block, size_t offset, size_t bytes)
      : Buffer(static_cast<std::byte*>(block->data()) + offset, bytes, block->device()),
        block_(std::move(block)) {}

 private:
  std::shared_ptr<Buffer> block_;
};

}  // namespace

Allocator& host_allocator() {
  static HostAllocator allocator;
  return allocator;
}

Arena::Arena(size_t capacity, Allocator& from) : block_(from.allocate(capacity)) {}

std::shared_ptr<Buffer> Arena::allocate(size_t bytes) {
  const size_t padding = (kHostAlignment - bytes % kHostAlignment) % kHostAlignment;
  const size_t room = capacity() - used_;
  HEDDLE_CHECK(bytes <= room && padding <= room - bytes, "arena: found ", room, " free bytes of ",
               capacity(), "; expected room for ", bytes,
               ". Hint: reset it each step, or make it larger");
  auto buffer = std::make_shared<ArenaBuffer>(block_, used_, bytes);
  used_ += bytes + padding;
  peak_ = std::max(peak_, used_);
  return buffer;
}

void Arena::reset() {
  const long holders = block_.use_count() - 1;
  HEDDLE_CHECK(holders == 0, "arena: reset while ", holders, " buffers are held; expected none");
  used_ = 0;
}

}  // namespace heddle
