// A random order of 0 … count − 1: every order is equally likely, and (seed, epoch) names one.
#pragma once

#include <cstdint>
#include <vector>

namespace heddle::data {

/// Memory: 4 bytes a number; count below 2^32.
std::vector<uint32_t> random_permutation(uint64_t count, uint64_t seed, uint64_t stream);

}  // namespace heddle::data
