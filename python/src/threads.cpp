#include "threads.h"

#include <nanobind/nanobind.h>
#include <unistd.h>

#include <mutex>

#include "bind.h"

namespace nb = nanobind;

namespace heddle::python {

namespace {

struct Shared {
  std::mutex mutex;
  std::shared_ptr<ThreadPool> pool;
  int threads = 0;  // as the user set it; 0: one a processor
  pid_t process = 0;
};

/// Never destroyed: at exit its threads are idle, and in a forked child there is nobody to join.
Shared& shared() {
  static Shared& state = *new Shared;
  return state;
}

void set_num_threads(int threads) {
  auto pool = std::make_shared<ThreadPool>(threads);
  Shared& state = shared();
  const std::lock_guard lock(state.mutex);
  if (state.process != getpid() && state.pool) new std::shared_ptr<ThreadPool>(state.pool);
  state.pool = std::move(pool);
  state.threads = threads;
  state.process = getpid();
}

}  // namespace

std::shared_ptr<ThreadPool> thread_pool() {
  Shared& state = shared();
  const std::lock_guard lock(state.mutex);
  if (state.process != getpid()) {
    // The parent's threads do not exist in a forked child, so its pool is left behind unjoined.
    if (state.pool) new std::shared_ptr<ThreadPool>(state.pool);
    state.pool = std::make_shared<ThreadPool>(state.threads);
    state.process = getpid();
  }
  return state.pool;
}

void bind_threads(nb::module_& module) {
  module.def("set_num_threads", &set_num_threads, nb::arg("threads"),
             "Sets how many threads attention uses in this process, the caller included; 0 means\n"
             "one a processor, which is where it begins. Calls under way keep what they have.");
  module.def(
      "get_num_threads", [] { return thread_pool()->threads(); },
      "How many threads attention uses in this process, the caller included.");
}

}  // namespace heddle::python
