#include "heddle/data/token_cache.h"

#include "heddle/data/corpus_counts.h"

namespace heddle::data {

TokenCache::TokenCache(const std::string& path, uint64_t key)
    : file_(path, key, kPairShape), pairs_{file_.tokens(), file_.offsets(), file_.weights()} {
  const auto fields = fields_of(counts_);
  for (size_t i = 0; i < fields.size(); ++i) *fields[i] = file_.counts()[i];
}

}  // namespace heddle::data
