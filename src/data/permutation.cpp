#include "heddle/data/permutation.h"

#include <numeric>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/base/random.h"

namespace heddle::data {

std::vector<uint32_t> random_permutation(uint64_t count, uint64_t seed, uint64_t stream) {
  HEDDLE_CHECK(count <= UINT32_MAX, "data: found ", count,
               " items to shuffle; expected below 2^32");
  std::vector<uint32_t> order(count);
  std::iota(order.begin(), order.end(), 0U);
  Random random(seed, stream);
  for (uint64_t i = count; i > 1; --i) std::swap(order[i - 1], order[random.below(i)]);
  return order;
}

}  // namespace heddle::data
