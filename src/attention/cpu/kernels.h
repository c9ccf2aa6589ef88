// What the drivers (forward.cpp, backward.cpp, decode.cpp) ask of an instruction set: the
// arithmetic of one tile on plain pointers. Scores are kept in units of log2, so that exp becomes
// exp2.
//
// One operand of each product is packed into panels, so that its T axis runs along the lanes:
// element (t, e) lies at [t / panel][e][t % panel]. The other is read row by row.
// A tile is at most 64 × 64, so one 64-bit word holds what a key shows, or what a row sees.
#pragma once

#include <cstdint>

namespace heddle::attention::cpu {

inline constexpr int kTileRows = 64;
inline constexpr int kTileKeys = 64;
inline constexpr int kMaxWidth = 256;  ///< largest head dim

/// Turns a packed product q·k into a score in units of log2:
///   cap > 0: cap · tanh(product), else product; less slope · |row − key|.
struct ScoreRule {
  float factor;  ///< goes into the packed operand: scale · log2 e, or scale / softcap
  float cap;     ///< softcap · log2 e, or 0
  float slope;   ///< ALiBi slope · log2 e, or 0
};

/// Rows [count, width] in single precision.
struct Rows {
  const float* data;
  int64_t stride;
  int count, width;
};

/// One key tile of a query tile. Adds to the running softmax of its rows.
struct ForwardTile {
  const float* q;  ///< [rows, E] in panels of panel(rows), times rule.factor
  const float* k;  ///< [keys, E]
  const float* v;  ///< [keys, Ev]
  int64_t k_stride, v_stride;
  const uint64_t* visible;  ///< [keys], bit i: row i may look; null: all may
  int rows, keys, head_dim, value_dim;
  int32_t distance;  ///< position of row 0 − position of key 0
  bool trim;         ///< leave out what no row of a panel sees
  bool careful;      ///< hidden values are not finite: multiply visible pairs only
  ScoreRule rule;
  float* weights;  ///< scratch [keys, panel]
  float* max;      ///< [rows] in panels: largest score so far, −inf at first
  float* sum;      ///< [rows] in panels: Σ exp2(score − max), 0 at first
  float* out;      ///< [rows, Ev] in panels: Σ exp2(score − max) · v, 0 at first
};

/// One pair of query tile and key tile. Adds to the gradients that are asked for.
struct BackwardTile {
  const float* q;           ///< [rows, E], width padded to kMaxLanes like all but the panels
  const float* d_out;       ///< [rows, Ev]
  const float* k;           ///< [keys, E]
  const float* k_panels;    ///< [keys, E] in panels of panel(keys), times rule.factor
  const float* v_panels;    ///< [keys, Ev] in panels
  const float* lse;         ///< [rows], in units of log2
  const float* delta;       ///< [rows]: out · d_out
  const uint64_t* visible;  ///< [rows], bit j: the row sees key j; null: all
  int rows, keys, head_dim, value_dim;
  int64_t key_width, value_width;  ///< padded E, Ev: distance between rows
  int32_t distance;
  bool trim;
  bool careful;
  ScoreRule rule;
  float scale;
  float* weights;   ///< scratch [rows, 64]
  float* d_scores;  ///< scratch [rows, 64]
  float* d_q;       ///< [rows, E], or null
  float* d_k;       ///< [keys, E], or null together with d_v
  float* d_v;       ///< [keys, Ev]
};

/// Widths are padded to a multiple of this, which every lane count divides.
inline constexpr int kMaxLanes = 16;

struct Kernels {
  int lanes;
  void (*pack)(const Rows& rows, float factor, float* panels);  ///< zeros after the last row
  /// rows[i] = panels' row i · factors[i]; the inverse of pack.
  void (*unpack)(const float* panels, const float* factors, int count, int width, float* rows,
                 int64_t stride);
  void (*dot_rows)(const Rows& a, const Rows& b, float* dots);  ///< dots[i] = a[i]·b[i]
  void (*forward)(const ForwardTile& tile);
  void (*backward)(const BackwardTile& tile);
  /// As forward, but q and out lie row by row, and weights is scratch [rows, 64].
  void (*few_rows)(const ForwardTile& tile);

  /// Rows of a panel: one vector when that holds them all, else two.
  int panel(int rows) const { return rows <= lanes ? lanes : 2 * lanes; }
};

}  // namespace heddle::attention::cpu
