// A yardstick: the rate of OpenBLAS's sgemm on this machine, where OpenBLAS is installed. Loaded at
// run time; Heddle does not depend on it.
#pragma once

#include <optional>

namespace heddle::cli {

/// FLOP/s of C = A·B at 1024³ in single precision, best of a few; nothing without OpenBLAS.
std::optional<double> sgemm_rate(int threads);

}  // namespace heddle::cli
