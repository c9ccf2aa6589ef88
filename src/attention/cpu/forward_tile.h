// The forward arithmetic of one tile. Query rows run along the lanes, so maxima, sums and mask
// words stay vertical and neither K nor V is transposed:
//
//   s[j, i] = k[j]·q[i];  m = max;  p[j, i] = exp2(s − m);  out[e, i] = out · exp2(m_old − m) +
//   v[:, e]·p[:, i]
#pragma once

#include <limits>

#include "heddle/attention/cpu/gemm.h"
#include "heddle/attention/cpu/kernels.h"
#include "heddle/attention/cpu/math.h"

namespace heddle::attention::cpu {

/// Less ALiBi's slope · |row − key|; `distance` is that of the first lane, signed to grow by the
/// lane.
template <typename V>
inline typename V::Vec add_alibi(const ScoreRule& rule, typename V::Vec score, int32_t distance) {
  if (rule.slope == 0) return score;
  return V::fma(V::set(-rule.slope), V::abs(V::count_from(distance)), score);
}

template <typename V, int N>
struct Lanes {
  typename V::Vec at[N];
};

template <typename V>
inline typename V::Vec hidden_score() {
  return V::set(-std::numeric_limits<float>::infinity());
}

/// Part [begin, end) of the words' axis.
struct Part {
  int begin, end;
};

/// The words from the first to the last that show any of `width` bits from `bit` on.
template <typename V>
inline Part seen_part(const uint64_t* words, int count, int bit, int width) {
  const uint64_t wanted = (~uint64_t{0} >> (64 - width)) << bit;
  Part part{0, count};
  while (part.end > 0 && (words[part.end - 1] & wanted) == 0) --part.end;
  while (part.begin < part.end && (words[part.begin] & wanted) == 0) ++part.begin;
  return part;
}

/// Soft-cap, ALiBi and mask over products already in memory; returns the largest score of each
/// lane.
template <typename V, int N>
inline Lanes<V, N> finish_scores(const ForwardTile& tile, int row, Part keys, float* scores) {
  Lanes<V, N> largest;
  for (int n = 0; n < N; ++n) largest.at[n] = hidden_score<V>();
  for (int j = keys.begin; j < keys.end; ++j) {
    for (int n = 0; n < N; ++n) {
      const int first = row + n * V::kLanes;
      float* at = scores + (j * N + n) * V::kLanes;
      typename V::Vec s = V::load(at);
      if (tile.rule.cap > 0) s = V::set(tile.rule.cap) * tanh<V>(s);
      s = add_alibi<V>(tile.rule, s, tile.distance + first - j);
      if (tile.visible != nullptr) {
        s = V::select(static_cast<uint32_t>(tile.visible[j] >> first), s, hidden_score<V>());
      }
      V::store(at, s);
      largest.at[n] = V::max(largest.at[n], s);
    }
  }
  return largest;
}

/// Scores of a panel's rows against a part of the keys, [keys, panel]; returns the largest of each
/// lane.
template <typename V, int N>
inline Lanes<V, N> panel_scores(const ForwardTile& tile, int row, Part keys, float* scores) {
  constexpr int kPanel = N * V::kLanes;
  const bool plain = tile.rule.cap == 0 && tile.rule.slope == 0;
  const float* q = tile.q + row * tile.head_dim;
  Lanes<V, N> largest;
  for (int n = 0; n < N; ++n) largest.at[n] = hidden_score<V>();
  for_row_blocks<V::kBlockRows>(keys.end - keys.begin, [&]<int R>(int offset) {
    const int j = keys.begin + offset;
    Block<V, R, N> block;
    block.clear();
    accumulate<Left::rows>(block, tile.k + j * tile.k_stride, tile.k_stride, q, kPanel,
                           tile.head_dim);
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) {
        typename V::Vec s = block.at[r][n];
        if (plain && tile.visible != nullptr) {
          const uint64_t word = tile.visible[j + r] >> (row + n * V::kLanes);
          s = V::select(static_cast<uint32_t>(word), s, hidden_score<V>());
        }
        largest.at[n] = V::max(largest.at[n], s);
        V::store(scores + (j + r) * kPanel + n * V::kLanes, s);
      }
    }
  });
  return plain ? largest : finish_scores<V, N>(tile, row, keys, scores);
}

/// out += v·p over visible pairs alone, for values that must not be multiplied by 0.
template <typename V>
void add_visible_values(const ForwardTile& tile, int row, int panel, const float* weights,
                        float* out) {
  for (int e = 0; e < tile.value_dim; ++e) {
    for (int j = 0; j < tile.keys; ++j) {
      for (int i = 0; i < panel && row + i < tile.rows; ++i) {
        if ((tile.visible[j] >> (row + i) & 1) == 0) continue;
        float& sum = out[e * panel + i];
        sum = V::fma(tile.v[j * tile.v_stride + e], weights[j * panel + i], sum);
      }
    }
  }
}

/// Adds the keys of the tile to one panel of rows.
template <typename V, int N>
inline void forward_panel(const ForwardTile& tile, int row) {
  using Vec = typename V::Vec;
  constexpr int kPanel = N * V::kLanes;
  float* weights = tile.weights;
  Part keys{0, tile.keys};
  if (tile.trim && tile.visible != nullptr) {
    keys = seen_part<V>(tile.visible, tile.keys, row, kPanel);
    if (keys.begin == keys.end) return;
  }
  const Lanes<V, N> largest = panel_scores<V, N>(tile, row, keys, weights);

  Vec max[N], rescale[N], sum[N];
  for (int n = 0; n < N; ++n) {
    float* at = tile.max + row + n * V::kLanes;
    const Vec before = V::load(at);
    const Vec after = V::max(before, largest.at[n]);
    V::store(at, after);
    // A row that has seen nothing yet keeps −inf; a finite stand-in avoids −inf − (−inf).
    max[n] = V::max(V::set(std::numeric_limits<float>::lowest()), after);
    rescale[n] = exp2<V>(before - max[n]);
    sum[n] = V::load(tile.sum + row + n * V::kLanes) * rescale[n];
  }
  for (int j = keys.begin; j < keys.end; ++j) {
    for (int n = 0; n < N; ++n) {
      float* at = weights + j * kPanel + n * V::kLanes;
      const Vec p = exp2<V>(V::load(at) - max[n]);
      V::store(at, p);
      sum[n] = sum[n] + p;
    }
  }
  for (int n = 0; n < N; ++n) V::store(tile.sum + row + n * V::kLanes, sum[n]);

  float* out = tile.out + row * tile.value_dim;
  for_row_blocks<V::kBlockRows>(tile.value_dim, [&]<int R>(int e) {
    Block<V, R, N> block;
    float* at = out + e * kPanel;
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) {
        block.at[r][n] = V::load(at + r * kPanel + n * V::kLanes) * rescale[n];
      }
    }
    if (!tile.careful) {
      accumulate<Left::columns>(block, tile.v + keys.begin * tile.v_stride + e, tile.v_stride,
                                weights + keys.begin * kPanel, kPanel, keys.end - keys.begin);
    }
    for (int r = 0; r < R; ++r) {
      for (int n = 0; n < N; ++n) V::store(at + r * kPanel + n * V::kLanes, block.at[r][n]);
    }
  });
  if (tile.careful) add_visible_values<V>(tile, row, kPanel, weights, out);
}

template <typename V>
void forward_tile(const ForwardTile& tile) {
  if (tile.rows <= V::kLanes) {
    forward_panel<V, 1>(tile, 0);
  } else {
    for (int row = 0; row < tile.rows; row += 2 * V::kLanes) forward_panel<V, 2>(tile, row);
  }
}

}  // namespace heddle::attention::cpu
