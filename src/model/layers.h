// The layers: one definition each of embedding, self-attention, SSRU, cross-attention and
// feed-forward over packed rows x [R, D], and the two stacks made of them.
//
// The encoder is the same for translation and training. A decoder's rows are one step of some
// sentences, or all target tokens of some sentences (teacher-forced); the difference lies in what
// is handed in: the past of a step is in a DecoderState, that of a packed target among its rows.
#pragma once

#include <cstdint>
#include <span>

#include "heddle/model/pass.h"
#include "heddle/model/weights.h"
#include "heddle/ops/rows.h"

namespace heddle::model {

/// Tokens side by side, with what they see of each other.
struct PackedRows {
  std::span<const int32_t> tokens;     ///< [R], −1: the zero vector
  std::span<const int32_t> positions;  ///< [R]
  Visible visible;
};

/// What one decoder layer keeps of the past of a step's rows: keys and values [tokens, K · E], to
/// which each row adds its own at `at`, or the SSRU's cells, row r's at cells + at[r] · D.
struct LayerPast {
  void* keys = nullptr;
  void* values = nullptr;
  DType dtype = DType::f32;
  int64_t tokens = 0;
  float* cells = nullptr;
  std::span<const int32_t> at{};  ///< [R]; empty: there is no past, rows are whole sentences
};

/// The rows of a decoder and all that they look at.
struct DecoderRows {
  PackedRows rows;
  std::span<const int32_t> offsets{};  ///< whole sentences: row offsets, [S + 1]
  Visible cross;
  const AlignmentRows* alignments = nullptr;
};

/// Where a decoder layer finds its past and its source.
class DecoderMemory {
 public:
  virtual ~DecoderMemory() = default;
  virtual LayerPast past(int64_t layer) = 0;
  virtual Keys source(Pass& pass, int64_t layer) = 0;
};

/// x [R, D] = the encoder's output.
void run_encoder(Pass& pass, const PackedRows& rows, ops::Rows& x);

/// x [R, D] = the decoder's output, which the output projection reads.
void run_decoder(Pass& pass, const DecoderRows& rows, DecoderMemory& memory, ops::Rows& x);

/// Keys and values of a decoder layer's cross-attention, [T, 2K · E], from the encoder's output.
void project_source(Pass& pass, const DecoderLayer& layer, ops::Rows& encoded, ops::Rows& y);

/// Appends row r of `from` [R, K · E] to a pool of keys or values at row at[r].
void store_rows(const ops::Rows& from, std::span<const int32_t> at, DType dtype, void* pool);

}  // namespace heddle::model
