// The arithmetic of short_documents.h: scores = q·kᵀ with the keys along the lanes, their softmax
// row by row, out = p·v. Each row in an order of its own, whatever rows are beside it.
#pragma once

#include <limits>

#include "heddle/attention/cpu/decode_rows_kernel.h"
#include "heddle/attention/cpu/gemm.h"
#include "heddle/attention/cpu/short_documents.h"

namespace heddle::attention::cpu {

/// R rows against all keys.
template <typename V, int R>
inline void document_scores(const DocumentHead& h, int row, int panel, int padded) {
  const float* q = h.q + row * h.q_stride;
  for (int key = 0; key < padded; key += panel) {
    const float* k = h.panels + key * h.head_dim;
    const auto multiply = [&]<int N>() {
      Block<V, R, N> block;
      block.clear();
      accumulate<Left::rows>(block, q, h.q_stride, k, panel, h.head_dim);
      for (int r = 0; r < R; ++r) {
        for (int n = 0; n < N; ++n) {
          V::store(h.scores + r * padded + key + n * V::kLanes, block.at[r][n]);
        }
      }
    };
    panel == V::kLanes ? multiply.template operator()<1>() : multiply.template operator()<2>();
  }
}

/// Scores of one row to exp2(score − max); zeros behind the last key.
template <typename V>
inline void document_softmax(const DocumentHead& h, int row, float* scores, int padded) {
  using Vec = typename V::Vec;
  for (int j = h.keys; j < padded; ++j) scores[j] = -std::numeric_limits<float>::infinity();
  // A finite stand-in where all are −inf avoids −inf − (−inf).
  Vec most = V::set(std::numeric_limits<float>::lowest());
  for (int j = 0; j < padded; j += V::kLanes) most = V::max(most, V::load(scores + j));
  const float max = largest_of<V>(most);
  Vec sum = V::set(0.0f);
  for (int j = 0; j < padded; j += V::kLanes) {
    const Vec p = exp2<V>(V::load(scores + j) - V::set(max));
    V::store(scores + j, p);
    sum = sum + p;
  }
  h.max[row] = max;
  h.sum[row] = sum_of<V>(sum);
}

template <typename V, int R, int N>
inline void document_values(const DocumentHead& h, int row, int first, int padded) {
  Block<V, R, N> block;
  block.clear();
  accumulate<Left::rows>(block, h.scores, padded, h.v + first, h.v_stride, h.keys);
  for (int r = 0; r < R; ++r) {
    const typename V::Vec factor = V::set(1.0f / h.sum[row + r]);
    float* out = h.out + (row + r) * h.out_stride + first;
    for (int n = 0; n < N; ++n) V::store(out + n * V::kLanes, block.at[r][n] * factor);
  }
}

template <typename V>
void document_head(const DocumentHead& h) {
  const int panel = h.keys <= V::kLanes ? V::kLanes : 2 * V::kLanes;
  const int padded = (h.keys + panel - 1) / panel * panel;
  pack<V>({h.k, h.k_stride, h.keys, h.head_dim}, h.factor, h.panels);
  for_row_blocks<V::kBlockRows>(h.rows, [&]<int R>(int row) {
    document_scores<V, R>(h, row, panel, padded);
    for (int r = 0; r < R; ++r) document_softmax<V>(h, row + r, h.scores + r * padded, padded);
    int first = 0;
    for (; first + 2 * V::kLanes <= h.value_dim; first += 2 * V::kLanes) {
      document_values<V, R, 2>(h, row, first, padded);
    }
    if (first < h.value_dim) document_values<V, R, 1>(h, row, first, padded);
  });
}

}  // namespace heddle::attention::cpu
