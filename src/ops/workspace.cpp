#include "heddle/ops/workspace.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "heddle/ops/cpu/tables.h"

namespace heddle::ops {

Workspace::Workspace(std::string_view instructions)
    : kernels_(&cpu::kernels_for(instructions)),
      memory_(&host_allocator()),
      largest_(std::numeric_limits<size_t>::max()) {}

Workspace::Workspace(Allocator& memory, size_t largest)
    : kernels_(&cpu::kernels_for({})), memory_(&memory), largest_(largest) {}

void* Workspace::take_bytes(size_t bytes) {
  constexpr size_t kSmallest = size_t{1} << 20;
  const size_t padded = (bytes + kHostAlignment - 1) / kHostAlignment * kHostAlignment;
  while (block_ < blocks_.size() && used_ + padded > blocks_[block_]->bytes()) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const size_t wanted = blocks_.empty() ? std::max(kSmallest, std::exchange(merged_, 0))
                                          : std::min(2 * blocks_.back()->bytes(), largest_);
    blocks_.push_back(memory_->allocate(std::max(padded, wanted)));
  }
  void* piece = static_cast<char*>(blocks_[block_]->data()) + used_;
  used_ += padded;
  return piece;
}

void Workspace::rewind(size_t block, size_t used) {
  block_ = block;
  used_ = used;
  // All given back: the small blocks of the beginning go, so that memory comes from one block.
  if (block_ == 0 && used_ == 0 && blocks_.size() > 1) {
    merged_ = bytes();  // taken when it is next needed: nothing may throw here
    blocks_.clear();
  }
}

void Workspace::reserve(size_t bytes) {
  const size_t held = this->bytes();
  if (block_ != 0 || used_ != 0 || held + held / 8 >= bytes) return;
  blocks_.clear();
  merged_ = std::max(merged_, bytes);
}

size_t Workspace::bytes() const {
  size_t bytes = 0;
  for (const auto& held : blocks_) bytes += held->bytes();
  return bytes;
}

}  // namespace heddle::ops
