#include "heddle/decode/search.h"

#include <algorithm>

#include "heddle/decode/beam.h"
#include "heddle/decode/choose.h"
#include "heddle/decode/walk.h"

namespace heddle::decode {

int64_t target_limit(const Request& request, const Engine& engine) {
  const int64_t limit =
      request.options->target_limit(std::ssize(request.source)) + std::ssize(request.prefix);
  return engine.max_positions() > 0 ? std::min(limit, engine.max_positions()) : limit;
}

Search::Search(Request request, std::vector<int> slots, std::vector<int32_t> candidates,
               Engine& engine)
    : request_(std::move(request)),
      candidates_(std::move(candidates)),
      engine_(engine),
      limit_(decode::target_limit(request_, engine)),
      slots_(std::move(slots)) {}

void Search::abandon() {
  for (const int slot : slots_) engine_.release(slot);
  slots_.clear();
}

void Search::ban(std::span<const int32_t> tokens, std::vector<int32_t>& banned) const {
  banned.clear();
  if (options().repetition.no_repeat_ngram > 0) {
    repeated_ngrams(tokens, options().repetition.no_repeat_ngram, banned);
  }
  if (std::ssize(tokens) < options().min_length) {
    const auto place = std::lower_bound(banned.begin(), banned.end(), engine_.end());
    if (place == banned.end() || *place != engine_.end()) banned.insert(place, engine_.end());
  }
}

void Search::align(int row, std::vector<float>& alignment) const {
  if (!options().alignments) return;
  const std::span<const float> weights = engine_.alignment(row);
  alignment.insert(alignment.end(), weights.begin(), weights.end());
}

int rows_of(const Options& options) {
  return options.sampling.enabled ? options.n_best : options.beam;
}

std::unique_ptr<Search> make_search(Request request, std::vector<int> slots,
                                    std::vector<int32_t> candidates, Engine& engine) {
  if (request.options->beam > 1) {
    return std::make_unique<BeamSearch>(std::move(request), std::move(slots), std::move(candidates),
                                        engine);
  }
  return std::make_unique<Walk>(std::move(request), std::move(slots), std::move(candidates),
                                engine);
}

}  // namespace heddle::decode
