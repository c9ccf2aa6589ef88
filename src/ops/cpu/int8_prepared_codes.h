// Rows of codes made ready for tiles of unsigned weights (int8_clipped_codes.h).
#pragma once

#include <bit>

#include "heddle/ops/cpu/int8_pairs.h"
#include "heddle/ops/cpu/packed.h"

namespace heddle::ops::cpu {

/// What was taken off four quads of a row: Σ |taken| of the even pairs, and of the odd ones, is no
/// more than CodeClipper::kPairLimit, so that the products add up in 16 bits.
struct CodeRests {
  static constexpr int kQuads = 4;
  int32_t row;             ///< of the block
  int32_t offset[kQuads];  ///< of the quad in a tile, bytes
  int8_t codes[kQuads][4];
};

/// Where a block of up to four rows has what, in bytes.
struct PreparedBlock {
  static constexpr int64_t kRows = 4;

  explicit PreparedBlock(int64_t quads)
      : row(4 * quads + quads / UnsignedWeights::kGroup * 4),
        centres(4 * quads),
        head(kRows * row),
        rests(head + int64_t{sizeof(Head)}),
        most_rests(quads / 8),
        bytes((rests + kRows * most_rests * int64_t{sizeof(CodeRests)} + 63) / 64 * 64) {}

  struct Head {
    int32_t begin[kRows];  ///< −128 · Σ rest of each row
    int32_t rest_count;
    int32_t fits;  ///< whether groups may be added in 16 bits
  };

  int64_t row;         ///< i8 [4 · quads], then
  int64_t centres;     ///< two i16 a group: −128 · Σ code of its even and odd pairs
  int64_t head;        ///< Head
  int64_t rests;       ///< CodeRests, row by row
  int64_t most_rests;  ///< a row
  int64_t bytes;
};

/// Clips the codes of a row and lists the rests.
class CodeClipper {
 public:
  /// |(128 + w) · c + (128 + w′) · c′| ≤ 255 · 128 < 2^15 while |c + c′| is no more, or where the
  /// codes have different signs.
  static constexpr int kPairLimit = 128;

  CodeClipper(int32_t row, CodeRests* to, int64_t most) : row_(row), first_(to), most_(most) {}

  /// Pair i of `codes` [32], from `quad` on: bit 2 i of `pairs`.
  void clip_pairs(int8_t* codes, uint32_t pairs, int64_t quad) {
    for (pairs &= 0x55555555u; pairs != 0; pairs &= pairs - 1) {
      const int at = std::countr_zero(pairs);
      const int sum = codes[at] + codes[at + 1];
      const int larger = size(codes[at]) >= size(codes[at + 1]) ? at : at + 1;
      take(codes, larger, sum > 0 ? sum - kPairLimit : sum + kPairLimit, quad);
    }
  }

  /// The even (`at` 0) or odd (2) pairs of a group: until Σ code² is no more than `limit`.
  void clip_norm(int8_t* group, int at, int32_t limit, int64_t quad) {
    int32_t norm = 0;
    for (int i = at; i < 16; i += 4) norm += group[i] * group[i] + group[i + 1] * group[i + 1];
    while (norm > limit) {
      int largest = at;
      for (int i = at; i < 16; i += 4) {
        for (int j = i; j < i + 2; ++j)
          largest = size(group[j]) > size(group[largest]) ? j : largest;
      }
      const int code = size(group[largest]), others = norm - code * code;
      const int kept = others < limit ? root(limit - others) : 0;
      norm = others + kept * kept;
      take(group, largest, group[largest] > 0 ? code - kept : kept - code, quad);
    }
  }

  bool full() const { return full_; }
  int64_t count() const { return count_; }
  int32_t sum() const { return sum_; }  ///< of the rests

 private:
  static int size(int code) { return code < 0 ? -code : code; }

  /// Rounded down; exact below 2^24.
  static int root(int32_t square) {
    return _mm_cvttss_si32(_mm_sqrt_ss(_mm_set_ss(static_cast<float>(square))));
  }

  void take(int8_t* codes, int at, int taken, int64_t first_quad) {
    codes[at] = static_cast<int8_t>(codes[at] - taken);
    sum_ += taken;
    const int lane = at / 2 % 2;
    if (count_ == 0 || used_ == CodeRests::kQuads || sizes_[lane] + size(taken) > kPairLimit) {
      if (count_ == most_) {
        full_ = true;
        return;
      }
      first_[count_++] = {row_, {0, 0, 0, 0}, {}};
      used_ = sizes_[0] = sizes_[1] = 0;
    }
    CodeRests& rests = first_[count_ - 1];
    rests.offset[used_] = static_cast<int32_t>((first_quad + at / 4) * 4 * kTile);
    rests.codes[used_++][at % 4] = static_cast<int8_t>(taken);
    sizes_[lane] += size(taken);
  }

  int32_t row_;
  CodeRests* first_;
  int64_t most_, count_ = 0;
  int used_ = 0, sizes_[2] = {0, 0};  // quads of the last rests; Σ |taken| of even and odd pairs
  int32_t sum_ = 0;
  bool full_ = false;
};

/// Σ code² of the even and odd pairs of two groups, at [0] [1] [4] [5].
template <typename V>
inline __m256i norms_of_codes(__m256i codes) {
  const __m256i sizes = _mm256_abs_epi8(codes);
  const __m128i by_pair = _mm_setr_epi8(0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15);
  const __m256i squares =
      _mm256_shuffle_epi8(_mm256_maddubs_epi16(sizes, sizes), _mm256_broadcastsi128_si256(by_pair));
  const __m256i two = widened<V>(squares);
  return _mm256_add_epi32(two, _mm256_shuffle_epi32(two, 0x4e));
}

/// −128 · Σ code of the even and odd pairs of two groups, at [0] [1] and [8] [9].
template <typename V>
inline __m256i centres_of_codes(__m256i codes) {
  __m256i sums = _mm256_maddubs_epi16(_mm256_set1_epi8(-128), codes);
  sums = _mm256_add_epi16(sums, _mm256_shuffle_epi32(sums, 0xb1));
  sums = _mm256_add_epi16(sums, _mm256_shuffle_epi32(sums, 0x4e));
  return _mm256_sub_epi16(_mm256_setzero_si256(), sums);
}

/// One row. False where it has too many rests: then its codes are as they came, for add_words.
template <typename V>
inline bool prepare_row(const uint8_t* from, const Int8Product& p, const PreparedBlock& block,
                        uint8_t* to, CodeClipper& clipper) {
  const __m256i shift = _mm256_set1_epi8(static_cast<char>(p.zero)), ones = _mm256_set1_epi8(1);
  const __m256i pair_limit = _mm256_set1_epi16(CodeClipper::kPairLimit);
  const int32_t limit = p.weight->unsigned_weights->code_norm;
  auto* codes = reinterpret_cast<int8_t*>(to);
  auto* centres = reinterpret_cast<int32_t*>(to + block.centres);
  for (int64_t quad = 0; quad < p.weight->quads; quad += 8, codes += 32) {
    __m256i x = _mm256_sub_epi8(load_bytes<V>(from + 4 * quad), shift);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), x);
    const __m256i sums = _mm256_abs_epi16(_mm256_maddubs_epi16(ones, x));
    const int pairs = _mm256_movemask_epi8(_mm256_cmpgt_epi16(sums, pair_limit));
    if (pairs != 0) {
      clipper.clip_pairs(codes, static_cast<uint32_t>(pairs), quad);
      x = load_bytes<V>(codes);
    }
    const __m256i beyond = _mm256_cmpgt_epi32(norms_of_codes<V>(x), _mm256_set1_epi32(limit));
    const int norms = _mm256_movemask_ps(_mm256_castsi256_ps(beyond));
    if (norms != 0) {
      for (int lane = 0; lane < 4; ++lane) {
        if ((norms >> (lane % 2 + lane / 2 * 4) & 1) == 0) continue;
        clipper.clip_norm(codes + lane / 2 * 16, lane % 2 * 2, limit, quad + lane / 2 * 4);
      }
      x = load_bytes<V>(codes);
    }
    if (clipper.full()) break;
    const __m256i both = centres_of_codes<V>(x);
    centres[quad / 4] = _mm256_extract_epi32(both, 0);
    centres[quad / 4 + 1] = _mm256_extract_epi32(both, 4);
  }
  if (!clipper.full()) return true;
  for (int64_t k = 0; k < 4 * p.weight->quads; k += 32) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + k),
                        _mm256_sub_epi8(load_bytes<V>(from + k), shift));
  }
  return false;
}

template <typename V>
void prepare_codes(const Int8Product& p) {
  const PreparedBlock block(p.weight->quads);
  for (int64_t first = 0; first < p.rows; first += PreparedBlock::kRows) {
    uint8_t* to = p.prepared + first / PreparedBlock::kRows * block.bytes;
    auto* rests = reinterpret_cast<CodeRests*>(to + block.rests);
    PreparedBlock::Head head{{0, 0, 0, 0}, 0, 1};
    for (int64_t r = 0; r < PreparedBlock::kRows && first + r < p.rows; ++r) {
      CodeClipper clipper(static_cast<int32_t>(r), rests + head.rest_count, block.most_rests);
      if (prepare_row<V>(p.codes + (first + r) * p.codes_stride, p, block, to + r * block.row,
                         clipper)) {
        head.begin[r] = -128 * clipper.sum();
        head.rest_count += static_cast<int32_t>(clipper.count());
      } else {
        head.fits = 0;
      }
    }
    __builtin_memcpy(to + block.head, &head, sizeof head);
  }
}

}  // namespace heddle::ops::cpu
