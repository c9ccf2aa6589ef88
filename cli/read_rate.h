// How fast this machine reads memory: what decoding is measured against.
#pragma once

#include "heddle/base/threads.h"

namespace heddle::cli {

/// Bytes a second of a plain sum over 256 MiB, shared out over the threads; the best of a few.
double read_rate(ThreadPool& threads);

}  // namespace heddle::cli
