#include "heddle/mask/picture/grid.h"

#include <algorithm>
#include <array>

namespace heddle::picture {

namespace {

/// Sums over bands of [0, length): intervals with a weight go in, one sum a band comes out.
class BandSums {
 public:
  BandSums(int64_t length, int32_t bands)
      : length_(length),
        bands_(bands),
        part_(static_cast<size_t>(bands)),
        step_(static_cast<size_t>(bands) + 1) {}

  void add(int64_t begin, int64_t end, int64_t weight) {
    if (begin >= end) return;
    const size_t first = band_of(begin), last = band_of(end - 1);
    if (first == last) {
      part_[first] += weight * (end - begin);
      return;
    }
    part_[first] += weight * (begin_of(first + 1) - begin);
    part_[last] += weight * (end - begin_of(last));
    step_[first + 1] += weight;  // the bands between are covered whole
    step_[last] -= weight;
  }

  /// Writes the sums to target[0], target[stride], … and starts again from zero.
  void take(int64_t* target, size_t stride) {
    int64_t whole = 0;
    for (size_t band = 0; band < part_.size(); ++band) {
      whole += step_[band];
      target[band * stride] = part_[band] + whole * (begin_of(band + 1) - begin_of(band));
      part_[band] = step_[band] = 0;
    }
    step_.back() = 0;
  }

 private:
  int64_t begin_of(size_t band) const {
    return band_begin(length_, bands_, static_cast<int64_t>(band));
  }
  size_t band_of(int64_t position) const {
    return static_cast<size_t>(((position + 1) * bands_ - 1) / length_);
  }

  int64_t length_;
  int64_t bands_;
  std::vector<int64_t> part_;
  std::vector<int64_t> step_;
};

/// Adds the rows that may look at a column.
void add_visible(const MaskColumn& column, int32_t query_length, BandSums& sums) {
  struct Masked {
    int32_t begin, end;
  };
  std::array<Masked, 2> masked{{{column.lts, column.lte}, {column.uts, column.ute}}};
  if (masked[1].begin < masked[0].begin) std::swap(masked[0], masked[1]);
  int32_t row = column.first;
  for (const Masked& gap : masked) {
    if (gap.begin >= gap.end) continue;
    sums.add(row, gap.begin, 1);
    row = std::max(row, gap.end);
  }
  sums.add(row, query_length, 1);
}

void count_visible(const ColumnMask& mask, int32_t head, Grid& grid) {
  const MaskView view = mask.view();
  BandSums sums(mask.query_length(), grid.rows);
  for (int32_t cell = 0; cell < grid.keys; ++cell) {
    const auto end = static_cast<int32_t>(band_begin(mask.key_length(), grid.keys, cell + 1));
    for (auto key = static_cast<int32_t>(band_begin(mask.key_length(), grid.keys, cell)); key < end;
         ++key) {
      add_visible(mask_column(view, head, key), mask.query_length(), sums);
    }
    sums.take(grid.visible.data() + cell, static_cast<size_t>(grid.keys));
  }
}

void count_tiles(const ColumnMask& mask, const MaskPlan& plan, int32_t head, Grid& grid) {
  const int64_t rows = mask.query_length(), keys = mask.key_length();
  const int64_t tile_rows = plan.tile().rows, tile_keys = plan.tile().keys;
  BandSums full(keys, grid.keys), partial(keys, grid.keys);
  for (int32_t band = 0; band < grid.rows; ++band) {
    const int64_t begin = band_begin(rows, grid.rows, band);
    const int64_t end = band_begin(rows, grid.rows, band + 1);
    for (int64_t tile = begin / tile_rows; tile * tile_rows < end; ++tile) {
      const int64_t height =
          std::min(end, (tile + 1) * tile_rows) - std::max(begin, tile * tile_rows);
      for (const TileRun run : plan.runs_of_query_tile(head, static_cast<int32_t>(tile))) {
        const int64_t last = (int64_t{run.first} + run.count) * tile_keys;
        (run.full != 0 ? full : partial).add(run.first * tile_keys, std::min(last, keys), height);
      }
    }
    full.take(grid.in_full.data() + grid.at(band, 0), 1);
    partial.take(grid.in_partial.data() + grid.at(band, 0), 1);
  }
}

}  // namespace

Grid make_grid(const ColumnMask& mask, int32_t head, int32_t rows, int32_t keys,
               const MaskPlan* plan) {
  HEDDLE_CHECK(head >= 0 && head < mask.heads(), "picture: found head ", head, "; expected 0 … ",
               mask.heads() - 1);
  HEDDLE_CHECK(rows >= 1 && rows <= mask.query_length() && keys >= 1 && keys <= mask.key_length(),
               "picture: found ", rows, " × ", keys, " cells; expected at most ",
               mask.query_length(), " × ", mask.key_length());
  const size_t cells = static_cast<size_t>(rows) * static_cast<size_t>(keys);
  Grid grid{
      .rows = rows, .keys = keys, .pairs = {}, .visible = {}, .in_full = {}, .in_partial = {}};
  grid.pairs.resize(cells);
  grid.visible.resize(cells);
  for (int32_t row = 0; row < rows; ++row) {
    const int64_t height =
        band_begin(mask.query_length(), rows, row + 1) - band_begin(mask.query_length(), rows, row);
    for (int32_t key = 0; key < keys; ++key) {
      grid.pairs[grid.at(row, key)] = height * (band_begin(mask.key_length(), keys, key + 1) -
                                                band_begin(mask.key_length(), keys, key));
    }
  }
  count_visible(mask, head, grid);
  if (plan != nullptr) {
    grid.in_full.resize(cells);
    grid.in_partial.resize(cells);
    count_tiles(mask, *plan, head, grid);
  }
  return grid;
}

}  // namespace heddle::picture
