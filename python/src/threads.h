// The threads that all calls of one process share.
#pragma once

#include <memory>

#include "heddle/base/threads.h"

namespace heddle::python {

/// The pool in use; a call keeps its own hold on it, so that a change of the number is safe.
std::shared_ptr<ThreadPool> thread_pool();

}  // namespace heddle::python
