// Packed documents under a document mask, each computed by itself: tiles of 64 × 64 would mostly
// hold pairs that may not look at each other. For encoders and cross-attention of sentences.
#pragma once

#include <vector>

#include "heddle/attention/attention.h"
#include "heddle/attention/table.h"

namespace heddle::attention::cpu {

/// Rows [row, row_end) see keys [key, key_end) and no others.
struct Document {
  int32_t row, row_end, key, key_end;
};

/// The documents of a mask that is nothing but documents of at most `most` keys each, else none.
std::vector<Document> documents_of(const ColumnMask& mask, int32_t most);

/// One head of one document, on plain pointers. Widths are multiples of the lanes.
struct DocumentHead {
  const float* q;  ///< [rows, E]
  const float* k;  ///< [keys, E]
  const float* v;  ///< [keys, Ev]
  float* out;      ///< [rows, Ev]
  int64_t q_stride, k_stride, v_stride, out_stride;
  int rows, keys, head_dim, value_dim;
  float factor;   ///< scale · log2 e
  float* panels;  ///< scratch [keys rounded up, E]
  float* scores;  ///< scratch [kMostRows, keys rounded up]
  float* max;     ///< [rows]: largest score, in units of log2
  float* sum;     ///< [rows]: Σ exp2(score − max)
};

/// Keys are rounded up to a multiple of this, and at most so many rows are computed at once.
inline constexpr int kKeyPadding = 32;
inline constexpr int kMostRows = 16;

struct DocumentKernel {
  int lanes;
  void (*run)(const DocumentHead& head);
};
extern const DocumentKernel kDocumentsPortable;
extern const DocumentKernel kDocumentsAvx2;
extern const DocumentKernel kDocumentsAvx512;

struct DocumentsRow {
  static bool applies(const Args& args, Pass pass);
  static void forward(const Args& args);
};

}  // namespace heddle::attention::cpu
