// Packs sentence pairs into batches without padding, in an order that (seed, epoch) alone decides.
//
//   epoch   all pairs in a random order (an exact permutation), cut into windows
//   window  sorted by length and cut into batches of at most `max_tokens` source tokens and as many
//           target tokens; the batches of a window come in a random order
//
// Sorting puts sentences of one length together, which makes the work of a batch's parts even. The
// position is three numbers; a packer started there gives the same batches to the bit.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "heddle/data/preference_groups.h"
#include "heddle/data/token_pairs.h"

namespace heddle::data {

struct PackerOptions {
  int64_t max_tokens = 4096;  ///< of either side, ends of sentence included
  int64_t window = 16384;     ///< pairs sorted together
  uint64_t seed = 1;
  bool shuffle = true;        ///< false: pairs as they come, batches too (for validation)
  int32_t source_end = -1;    ///< token behind every source; −1: none
  int32_t target_end = 0;     ///< token behind every target: its last label
  int32_t target_start = -1;  ///< what stands before the first target token
};

/// S sentences, Ts source tokens, Tt target tokens.
struct PackedBatch {
  std::vector<int32_t> sources;           ///< [Ts]
  std::vector<int32_t> source_offsets;    ///< [S + 1]
  std::vector<int32_t> targets;           ///< [Tt], shifted right: target_start, t0, t1, …
  std::vector<int32_t> target_offsets;    ///< [S + 1]
  std::vector<int32_t> labels;            ///< [Tt]: t0, t1, …, target_end
  std::vector<float> weights;             ///< [Tt], or empty: 1 each
  std::vector<uint64_t> pairs;            ///< [S], their numbers in the data
  std::vector<PreferenceGroup> groups{};  ///< [S], of preferences; or empty
  std::vector<double> reference{};  ///< what a reference says of each answer of all groups, or
                                    ///< empty

  // What teachers say: their best tokens at each position and ln p; empty without teachers.
  std::vector<int32_t> teacher_ids{};  ///< [Tt, k], −1: none
  std::vector<float> teacher_logs{};   ///< [Tt, k]
  int64_t teacher_count = 0;           ///< k

  std::shared_ptr<void> prepared{};  ///< what is trained may keep what it made of it here

  int64_t sentences() const { return static_cast<int64_t>(pairs.size()); }
};

struct PackerPosition {
  uint64_t epoch = 0;
  uint64_t window = 0;  ///< of this epoch
  uint64_t batch = 0;   ///< of this window: the next to give
  bool operator==(const PackerPosition&) const = default;
};

class Packer {
 public:
  /// The pairs' memory must outlive the packer. Throws when a pair is longer than a batch.
  Packer(TokenPairs pairs, const PackerOptions& options, PackerPosition position = {});

  /// The next batch; false at the end of an epoch, and the next call begins the next one.
  bool next(PackedBatch& batch);

  PackerPosition position() const { return position_; }

  /// Share of the epoch that was given, in [0, 1).
  double progress() const;

 private:
  struct Range {
    uint32_t begin, end;  // of window_
  };
  void check() const;
  void start_window();
  void sort_window();
  void cut_window();
  void pack(const Range& range, PackedBatch& batch) const;
  int64_t source_tokens(uint64_t pair) const;
  int64_t target_tokens(uint64_t pair) const;

  TokenPairs pairs_;
  PackerOptions options_;
  PackerPosition position_;
  std::vector<uint32_t> order_;  // of the epoch
  uint64_t ordered_epoch_ = UINT64_MAX;
  std::vector<uint32_t> window_;  // pairs of the window, sorted
  std::vector<Range> batches_;    // of the window, as they are given
  bool started_ = false;          // window_ and batches_ are those of position_
};

}  // namespace heddle::data
