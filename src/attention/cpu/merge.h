// Walks the run lists of several tiles together, so that what they share is loaded once.
#pragma once

#include <vector>

#include "heddle/mask/plan.h"

namespace heddle::attention::cpu {

/// Which way the lists run: key tiles of a query tile fall, query tiles of a key tile rise.
enum class Order { falling, rising };

template <Order kOrder>
class TileMerge {
 public:
  void clear() {
    cursors_.clear();
    tile_ = kNone;
  }

  void add(const TileRuns& runs) {
    cursors_.push_back({runs.begin(), runs.end(), {}, 0});
    cursors_.back().enter_run();
  }

  /// Goes to the next tile that is on any list; false at the end.
  bool next() {
    if (tile_ != kNone) {
      for (Cursor& cursor : cursors_) {
        if (cursor.tile() == tile_) cursor.advance();
      }
    }
    tile_ = kNone;
    for (const Cursor& cursor : cursors_) {
      const int32_t candidate = cursor.tile();
      if (candidate == kNone) continue;
      const bool earlier = kOrder == Order::falling ? candidate > tile_ : candidate < tile_;
      if (tile_ == kNone || earlier) tile_ = candidate;
    }
    return tile_ != kNone;
  }

  int32_t tile() const { return tile_; }

  /// The class of the current tile on list n, in the order of add.
  TileClass on_list(size_t n) const {
    const Cursor& cursor = cursors_[n];
    if (cursor.tile() != tile_) return TileClass::skip;
    return cursor.run.full != 0 ? TileClass::full : TileClass::partial;
  }

 private:
  static constexpr int32_t kNone = -1;

  struct Cursor {
    TileRuns::Iterator at, end;
    TileRun run;
    int32_t done;  // tiles of the run behind us

    int32_t tile() const {
      if (at == end) return kNone;
      const int32_t last = run.first + static_cast<int32_t>(run.count) - 1;
      return kOrder == Order::falling ? last - done : run.first + done;
    }
    void advance() {
      if (++done < static_cast<int32_t>(run.count)) return;
      ++at;
      enter_run();
    }
    void enter_run() {
      done = 0;
      if (!(at == end)) run = *at;
    }
  };

  std::vector<Cursor> cursors_;
  int32_t tile_ = kNone;
};

}  // namespace heddle::attention::cpu
