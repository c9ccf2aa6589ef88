#include "heddle/mask/plan.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <map>

namespace heddle {

namespace {

/// Rows or tiles [begin, end) of one class.
struct Stretch {
  int32_t begin;
  int32_t end;
  TileClass tile_class;
};

/// Joins a stretch to the last one when the classes agree.
void append(std::vector<Stretch>& stretches, Stretch next) {
  if (next.begin >= next.end) return;
  if (!stretches.empty() && stretches.back().tile_class == next.tile_class) {
    stretches.back().end = next.end;
  } else {
    stretches.push_back(next);
  }
}

/// Sweeps the rows of one key tile, counting the columns that each row sees.
class RowSweep {
 public:
  explicit RowSweep(const MaskView& mask) : mask_(mask) {}

  /// Rows [0, query_length) as stretches: skip where no column of the tile is seen, full where all
  /// are, partial between.
  const std::vector<Stretch>& operator()(int32_t head, int32_t key_begin, int32_t key_end) {
    steps_.clear();
    for (int32_t key = key_begin; key < key_end; ++key) add(mask_column(mask_, head, key));
    std::sort(steps_.begin(), steps_.end(),
              [](const Step& a, const Step& b) { return a.row < b.row; });
    stretches_.clear();
    int32_t row = 0, seen = 0;
    for (const Step& step : steps_) {
      append(stretches_, {row, step.row, class_of(seen, key_end - key_begin)});
      row = step.row;
      seen += step.change;
    }
    append(stretches_, {row, mask_.query_length, class_of(seen, key_end - key_begin)});
    return stretches_;
  }

 private:
  struct Step {
    int32_t row;
    int32_t change;
  };

  static TileClass class_of(int32_t seen, int32_t width) {
    if (seen == 0) return TileClass::skip;
    return seen == width ? TileClass::full : TileClass::partial;
  }

  /// Steps up and down where the column's visible rows begin and end: the rows from `first` on,
  /// less the two masked intervals taken in order.
  void add(const MaskColumn& column) {
    struct Gap {
      int32_t begin, end;
    };
    Gap gaps[2] = {{column.lts, column.lte}, {column.uts, column.ute}};
    if (gaps[1].begin < gaps[0].begin) std::swap(gaps[0], gaps[1]);
    int32_t from = column.first;
    for (const Gap& gap : gaps) {
      if (gap.begin >= gap.end) continue;
      add_visible(from, gap.begin);
      from = std::max(from, gap.end);
    }
    add_visible(from, mask_.query_length);
  }

  void add_visible(int32_t begin, int32_t end) {
    if (begin >= end) return;
    steps_.push_back({begin, 1});
    if (end < mask_.query_length) steps_.push_back({end, -1});
  }

  MaskView mask_;
  std::vector<Step> steps_;
  std::vector<Stretch> stretches_;
};

/// Stretches of rows made into stretches of query tiles: a tile that holds rows of different
/// classes is partial.
void to_tiles(const std::vector<Stretch>& rows, int32_t tile_rows, int32_t query_length,
              std::vector<Stretch>& tiles) {
  tiles.clear();
  const auto tiles_before = [&](int32_t row) { return row / tile_rows; };
  const auto tiles_touched = [&](int32_t row) { return row == 0 ? 0 : (row - 1) / tile_rows + 1; };
  int32_t done = 0;  // tiles classified so far
  for (const Stretch& stretch : rows) {
    const int32_t first = tiles_touched(stretch.begin);
    const int32_t end =
        stretch.end == query_length ? tiles_touched(stretch.end) : tiles_before(stretch.end);
    append(tiles, {done, first, TileClass::partial});  // the tile that the stretch begins inside
    append(tiles, {first, end, stretch.tile_class});
    done = std::max(first, end);
  }
}

TileRun run_of(const Stretch& stretch) {
  return {stretch.begin, static_cast<uint32_t>(stretch.end - stretch.begin),
          stretch.tile_class == TileClass::full ? 1u : 0u};
}

int32_t position(size_t value) {
  HEDDLE_CHECK(value <= static_cast<size_t>(std::numeric_limits<int32_t>::max()),
               "mask plan: found more than 2^31 runs; expected fewer. Hint: use larger tiles");
  return static_cast<int32_t>(value);
}

/// A tile changes its class at a query tile: what the transposition sorts.
struct Change {
  int32_t query_tile;
  int32_t key_tile;
  TileClass tile_class;
};

/// The classes of all key tiles at one query tile, as stretches that begin at the map's keys.
class KeyAxis {
 public:
  explicit KeyAxis(int32_t key_tiles) : key_tiles_(key_tiles) { begins_[0] = TileClass::skip; }

  void set(int32_t tile, TileClass tile_class) {
    const auto at = split(tile);
    if (tile + 1 < key_tiles_) split(tile + 1);
    at->second = tile_class;
    join(std::next(at));
    join(at);
  }

  /// Live runs from the last key tile to the first; returns the number of live tiles.
  int32_t runs(std::vector<TileRun>& runs) const {
    runs.clear();
    int32_t end = key_tiles_, tiles = 0;
    for (auto at = begins_.rbegin(); at != begins_.rend(); ++at) {
      const auto [begin, tile_class] = *at;
      if (tile_class != TileClass::skip) {
        runs.push_back(run_of({begin, end, tile_class}));
        tiles += end - begin;
      }
      end = begin;
    }
    return tiles;
  }

 private:
  using Map = std::map<int32_t, TileClass>;

  /// Makes a stretch begin at the tile, of the class it had.
  Map::iterator split(int32_t tile) {
    const auto after = begins_.upper_bound(tile);
    const auto at = std::prev(after);
    return at->first == tile ? at : begins_.emplace_hint(after, tile, at->second);
  }

  /// Removes a begin that no longer changes the class.
  void join(Map::iterator at) {
    if (at == begins_.end() || at == begins_.begin()) return;
    if (std::prev(at)->second == at->second) begins_.erase(at);
  }

  int32_t key_tiles_;
  Map begins_;
};

/// Appends lists of runs to a pool; a list whose tail equals the tail of the list before shares it.
/// Rows of one tree or document mostly add at the diagonal, so the pool stays O(T) even where every
/// query tile has many runs.
class SharingPool {
 public:
  explicit SharingPool(std::vector<TileRun>& pool) : pool_(pool) {}

  TileList add(const std::vector<TileRun>& runs, int32_t tiles) {
    const auto same = std::mismatch(runs.rbegin(), runs.rend(), last_.rbegin(), last_.rend());
    const auto own = static_cast<size_t>(runs.rend() - same.first);
    const size_t shared = runs.size() - own;
    const size_t tail = last_.size() - shared;  // where the shared runs begin in the list before

    std::vector<int32_t> places;
    places.reserve(runs.size());
    const bool jump = shared >= 2;  // a jump takes the room of one run
    const size_t written = jump ? own : runs.size();
    for (size_t i = 0; i < written; ++i) {
      places.push_back(position(pool_.size()));
      pool_.push_back(runs[i]);
    }
    if (jump) {
      places.insert(places.end(), places_.begin() + static_cast<std::ptrdiff_t>(tail),
                    places_.end());
      if (own > 0) pool_.push_back({places_[tail], 0, 0});
    }
    last_ = runs;
    places_ = std::move(places);
    return {places_.empty() ? 0 : places_[0], position(runs.size()), tiles};
  }

 private:
  std::vector<TileRun>& pool_;
  std::vector<TileRun> last_;
  std::vector<int32_t> places_;  // where each run of last_ lies in the pool
};

/// Appends the live stretches of one key tile, and counts its tiles.
void add_key_tile(const std::vector<Stretch>& stretches, TileIndex& index, TileCounts& counts) {
  TileList list{position(index.runs.size()), 0, 0};
  for (const Stretch& stretch : stretches) {
    const int32_t tiles = stretch.end - stretch.begin;
    if (stretch.tile_class == TileClass::skip) {
      counts.skipped += tiles;
      continue;
    }
    (stretch.tile_class == TileClass::full ? counts.full : counts.partial) += tiles;
    index.runs.push_back(run_of(stretch));
    ++list.runs;
    list.tiles += tiles;
  }
  index.lists.push_back(list);
}

/// The transpose of one head: what the changes of all key tiles leave live at each query tile.
void add_query_tiles(std::vector<Change>& changes, int32_t query_tiles, int32_t key_tiles,
                     TileIndex& index) {
  std::sort(changes.begin(), changes.end(),
            [](const Change& a, const Change& b) { return a.query_tile < b.query_tile; });
  KeyAxis axis(key_tiles);
  SharingPool pool(index.runs);
  std::vector<TileRun> runs;
  TileList list{};
  auto change = changes.begin();
  for (int32_t query_tile = 0; query_tile < query_tiles; ++query_tile) {
    const auto first = change;
    for (; change != changes.end() && change->query_tile == query_tile; ++change) {
      axis.set(change->key_tile, change->tile_class);
    }
    if (change != first) {
      const int32_t tiles = axis.runs(runs);
      list = pool.add(runs, tiles);
    }
    index.lists.push_back(list);
  }
}

void check_tile(TileShape tile) {
  HEDDLE_CHECK(tile.rows >= 1 && tile.keys >= 1 && tile.rows <= kMaxMaskLength &&
                   tile.keys <= kMaxMaskLength,
               "mask plan: tile is ", tile.rows, " × ", tile.keys, "; expected 1 × 1 … ",
               kMaxMaskLength, " × ", kMaxMaskLength);
}

int32_t tiles_of(int32_t length, int32_t tile) { return (length - 1) / std::max(tile, 1) + 1; }

}  // namespace

TileRuns::Iterator::Iterator(const TileRun* pool, int32_t at, int32_t left)
    : pool_(pool), at_(at), left_(left) {
  follow_jump();
}

TileRuns::Iterator& TileRuns::Iterator::operator++() {
  ++at_;
  --left_;
  follow_jump();
  return *this;
}

void TileRuns::Iterator::follow_jump() {
  if (left_ > 0 && pool_[at_].count == 0) at_ = pool_[at_].first;
}

MaskPlan::MaskPlan(TileShape tile, int32_t heads, int32_t query_tiles, int32_t key_tiles)
    : tile_(tile), heads_(heads), query_tiles_(query_tiles), key_tiles_(key_tiles) {}

MaskPlan MaskPlan::without_skipping(const ColumnMask& mask, TileShape tile) {
  check_tile(tile);
  const int32_t query_tiles = tiles_of(mask.query_length(), tile.rows);
  const int32_t key_tiles = tiles_of(mask.key_length(), tile.keys);
  MaskPlan plan(tile, mask.heads(), query_tiles, key_tiles);
  plan.skips_ = false;
  const auto fill = [&](TileIndex& index, int32_t lists, int32_t tiles) {
    index.runs.push_back({0, static_cast<uint32_t>(tiles), 0});
    index.lists.assign(static_cast<size_t>(int64_t{mask.heads()} * lists), {0, 1, tiles});
  };
  fill(plan.by_query_, query_tiles, key_tiles);
  fill(plan.by_key_, key_tiles, query_tiles);
  plan.counts_.partial = int64_t{mask.heads()} * query_tiles * key_tiles;
  return plan;
}

MaskPlan::MaskPlan(const ColumnMask& mask, TileShape tile)
    : MaskPlan(tile, mask.heads(), tiles_of(mask.query_length(), tile.rows),
               tiles_of(mask.key_length(), tile.keys)) {
  check_tile(tile);
  RowSweep sweep(mask.view());
  std::vector<Stretch> stretches;  // of query tiles, for one key tile
  std::vector<Change> changes;
  for (int32_t head = 0; head < heads_; ++head) {
    changes.clear();
    for (int32_t key_tile = 0; key_tile < key_tiles_; ++key_tile) {
      const int32_t begin = key_tile * tile.keys;
      const int32_t end = begin + std::min(tile.keys, mask.key_length() - begin);
      to_tiles(sweep(head, begin, end), tile.rows, mask.query_length(), stretches);
      add_key_tile(stretches, by_key_, counts_);
      TileClass before = TileClass::skip;
      for (const Stretch& stretch : stretches) {
        if (stretch.tile_class != before) {
          changes.push_back({stretch.begin, key_tile, stretch.tile_class});
        }
        before = stretch.tile_class;
      }
    }
    add_query_tiles(changes, query_tiles_, key_tiles_, by_query_);
  }
  by_key_.runs.shrink_to_fit();
  by_query_.runs.shrink_to_fit();
}

TileRuns MaskPlan::runs_of_query_tile(int32_t head, int32_t query_tile) const {
  return {by_query_.runs.data(), list(by_query_, query_tiles_, head, query_tile)};
}

TileRuns MaskPlan::runs_of_key_tile(int32_t head, int32_t key_tile) const {
  return {by_key_.runs.data(), list(by_key_, key_tiles_, head, key_tile)};
}

int32_t MaskPlan::live_tiles_of_query_tile(int32_t head, int32_t query_tile) const {
  return list(by_query_, query_tiles_, head, query_tile).tiles;
}

int32_t MaskPlan::live_tiles_of_key_tile(int32_t head, int32_t key_tile) const {
  return list(by_key_, key_tiles_, head, key_tile).tiles;
}

int64_t MaskPlan::bytes() const {
  const auto bytes_of = [](const TileIndex& index) {
    return index.lists.size() * sizeof(TileList) + index.runs.size() * sizeof(TileRun);
  };
  return static_cast<int64_t>(bytes_of(by_query_) + bytes_of(by_key_));
}

const TileList& MaskPlan::list(const TileIndex& index, int32_t tiles, int32_t head,
                               int32_t tile) const {
  HEDDLE_CHECK(head >= 0 && head < heads_ && tile >= 0 && tile < tiles, "mask plan: tile ", tile,
               " of head ", head, "; expected a tile below ", tiles, ", a head below ", heads_);
  return index.lists[static_cast<size_t>(int64_t{head} * tiles + tile)];
}

}  // namespace heddle
