// Scratch memory of one thread: a stack of cuts from blocks that are kept, so that a step of a
// model allocates nothing once it has run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "heddle/tensor/buffer.h"

namespace heddle {
class ThreadPool;
}

namespace heddle::ops {

namespace cpu {
struct Kernels;
}

class Workspace {
 public:
  /// Works with the widest instruction set of this processor, or the one named ("portable", "avx2",
  /// "avxvnni", "avx512", "avx512vnni"; see cpu/tables.h); throws where it cannot run.
  explicit Workspace(std::string_view instructions = {});

  /// Cuts from the blocks of another allocator, e.g. a GPU's. They grow by doubling up to
  /// `largest` bytes, more only for a single cut that is larger.
  Workspace(Allocator& memory, size_t largest);
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  /// Uninitialised memory for `count` T, aligned to a cache line; valid until the Scope that was
  /// open when it was taken ends.
  template <typename T>
  T* take(int64_t count) {
    return static_cast<T*>(take_bytes(static_cast<size_t>(count) * sizeof(T)));
  }

  /// What is taken while it lives is given back, all at once, when it ends. Scopes nest.
  class Scope {
   public:
    explicit Scope(Workspace& workspace)
        : workspace_(workspace), block_(workspace.block_), used_(workspace.used_) {}
    ~Scope() { workspace_.rewind(block_, used_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Workspace& workspace_;
    size_t block_, used_;
  };

  const cpu::Kernels& kernels() const { return *kernels_; }

  /// Threads that share large products from now on, null for none; they change no bit. The pool
  /// must outlive the workspace, and no loop of its own may call what works with this.
  void share_with(ThreadPool* threads) { threads_ = threads; }
  ThreadPool* threads() const { return threads_; }

  /// Nothing is in use: makes sure that so many bytes will come from one block, but for an eighth.
  void reserve(size_t bytes);

  size_t bytes() const;  ///< held, in use or not

 private:
  void* take_bytes(size_t bytes);
  void rewind(size_t block, size_t used);

  const cpu::Kernels* kernels_;
  ThreadPool* threads_ = nullptr;
  Allocator* memory_;
  size_t largest_;
  std::vector<std::shared_ptr<Buffer>> blocks_;
  size_t block_ = 0;   // the one that is cut next
  size_t used_ = 0;    // bytes of it
  size_t merged_ = 0;  // of the first block to come, in place of several; 0: no matter
};

}  // namespace heddle::ops
