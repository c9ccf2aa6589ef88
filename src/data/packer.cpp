#include "heddle/data/packer.h"

#include <algorithm>
#include <numeric>
#include <tuple>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/data/permutation.h"

namespace heddle::data {

namespace {

// Streams of one seed: orders of pairs, and of the batches of a window.
constexpr uint64_t kPairStream = uint64_t{1} << 62, kBatchStream = uint64_t{2} << 62;
constexpr uint64_t kMostWindows = uint64_t{1} << 32;  // of an epoch

void append(std::vector<int32_t>& to, std::span<const int32_t> from) {
  to.insert(to.end(), from.begin(), from.end());
}

}  // namespace

Packer::Packer(TokenPairs pairs, const PackerOptions& options, PackerPosition position)
    : pairs_(pairs), options_(options), position_(position) {
  check();
}

void Packer::check() const {
  HEDDLE_CHECK(pairs_.size() > 0 && pairs_.size() < UINT32_MAX, "packer: found ", pairs_.size(),
               " pairs; expected at least one, and fewer than 2^32");
  HEDDLE_CHECK(options_.window > 0 && options_.max_tokens > 0, "packer: found a window of ",
               options_.window, " pairs and batches of ", options_.max_tokens,
               " tokens; expected at least 1");
  HEDDLE_CHECK(options_.max_tokens < INT32_MAX, "packer: found batches of ", options_.max_tokens,
               " tokens; expected fewer than 2^31");
  for (uint64_t i = 0; i < pairs_.size(); ++i) {
    const int64_t longest = std::max(source_tokens(i), target_tokens(i));
    HEDDLE_CHECK(longest <= options_.max_tokens, "packer: pair ", i, " has ", longest,
                 " tokens; expected at most a batch of ", options_.max_tokens,
                 " (raise max_tokens, or lower the longest length)");
  }
}

int64_t Packer::source_tokens(uint64_t pair) const {
  return static_cast<int64_t>(pairs_.source(pair).size()) + (options_.source_end >= 0 ? 1 : 0);
}

int64_t Packer::target_tokens(uint64_t pair) const {
  return static_cast<int64_t>(pairs_.target(pair).size()) + 1;
}

double Packer::progress() const {
  const double windows = static_cast<double>(position_.window) +
                         (batches_.empty() ? 0.0
                                           : static_cast<double>(position_.batch) /
                                                 static_cast<double>(batches_.size()));
  return std::min(
      1.0, windows * static_cast<double>(options_.window) / static_cast<double>(pairs_.size()));
}

bool Packer::next(PackedBatch& batch) {
  if (!started_) start_window();
  if (position_.batch == batches_.size()) {
    position_.batch = 0;
    ++position_.window;
    started_ = false;
    if (position_.window * static_cast<uint64_t>(options_.window) >= pairs_.size()) {
      position_ = {position_.epoch + 1, 0, 0};
      return false;
    }
    start_window();
  }
  pack(batches_[position_.batch++], batch);
  return true;
}

void Packer::start_window() {
  if (ordered_epoch_ != position_.epoch) {
    if (options_.shuffle) {
      order_ = random_permutation(pairs_.size(), options_.seed, kPairStream + position_.epoch);
    } else {
      order_.resize(pairs_.size());
      std::iota(order_.begin(), order_.end(), 0U);
    }
    ordered_epoch_ = position_.epoch;
  }
  const auto size = static_cast<uint64_t>(options_.window);
  HEDDLE_CHECK(position_.window <= (pairs_.size() - 1) / size, "packer: found the position ",
               position_.window, " of ", (pairs_.size() - 1) / size + 1, " windows");
  const uint64_t begin = position_.window * size;
  const uint64_t end = std::min(begin + size, pairs_.size());
  window_.assign(order_.begin() + static_cast<int64_t>(begin),
                 order_.begin() + static_cast<int64_t>(end));
  if (options_.shuffle) sort_window();
  cut_window();
  HEDDLE_CHECK(position_.batch <= batches_.size(), "packer: found the position ", position_.batch,
               " of ", batches_.size(), " batches");
  started_ = true;
}

void Packer::sort_window() {
  // Pairs of equal lengths stay in their random order.
  std::stable_sort(window_.begin(), window_.end(), [this](uint32_t a, uint32_t b) {
    return std::tuple(target_tokens(a), source_tokens(a)) <
           std::tuple(target_tokens(b), source_tokens(b));
  });
}

void Packer::cut_window() {
  std::vector<Range> cut;
  int64_t sources = 0, targets = 0;
  for (uint32_t i = 0; i < window_.size(); ++i) {
    const int64_t source = source_tokens(window_[i]), target = target_tokens(window_[i]);
    if (i == 0 || sources + source > options_.max_tokens ||
        targets + target > options_.max_tokens) {
      cut.push_back({i, i});
      sources = targets = 0;
    }
    sources += source;
    targets += target;
    cut.back().end = i + 1;
  }
  batches_ = cut;
  if (!options_.shuffle) return;
  const auto order = random_permutation(
      cut.size(), options_.seed, kBatchStream + position_.epoch * kMostWindows + position_.window);
  for (size_t i = 0; i < cut.size(); ++i) batches_[i] = cut[order[i]];
}

void Packer::pack(const Range& range, PackedBatch& batch) const {
  for (auto* list : {&batch.sources, &batch.targets, &batch.labels}) list->clear();
  batch.source_offsets.assign(1, 0);
  batch.target_offsets.assign(1, 0);
  batch.weights.clear();
  batch.pairs.clear();
  for (uint32_t i = range.begin; i < range.end; ++i) {
    const uint64_t pair = window_[i];
    const auto target = pairs_.target(pair);
    append(batch.sources, pairs_.source(pair));
    if (options_.source_end >= 0) batch.sources.push_back(options_.source_end);
    batch.targets.push_back(options_.target_start);
    append(batch.targets, target);
    append(batch.labels, target);
    batch.labels.push_back(options_.target_end);
    if (!pairs_.weights.empty()) {
      batch.weights.insert(batch.weights.end(), target.size() + 1, pairs_.weight(pair));
    }
    batch.source_offsets.push_back(static_cast<int32_t>(batch.sources.size()));
    batch.target_offsets.push_back(static_cast<int32_t>(batch.targets.size()));
    batch.pairs.push_back(pair);
  }
}

}  // namespace heddle::data
