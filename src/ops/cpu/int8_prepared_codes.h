// Rows of codes made ready for groups of weights (int8_grouped.h).
#pragma once

#include <algorithm>
#include <bit>

#include "heddle/ops/cpu/int8_pairs.h"
#include "heddle/ops/cpu/packed.h"

namespace heddle::ops::cpu {

/// What was taken off four quads of a row: Σ |taken| of the even pairs, and of the odd ones, is no
/// more than CodeClipper::kPairLimit, so that the products add up in 16 bits.
struct CodeRests {
  static constexpr int kQuads = 4;
  int32_t offset[kQuads];  ///< of the quad in a tile, bytes
  int8_t codes[kQuads][4];
};

/// Where a block of up to four rows has what, in bytes.
struct PreparedBlock {
  static constexpr int64_t kRows = 4;

  explicit PreparedBlock(int64_t quads)
      : row(4 * quads + quads),
        centres(4 * quads),
        norms(kRows * row),
        head(norms + GroupedWeights::per_tile(quads)),
        rests(head + int64_t{sizeof(Head)}),
        most_rests(quads / 8),
        bytes((rests + kRows * most_rests * int64_t{sizeof(CodeRests)} + 63) / 64 * 64) {}

  struct Head {
    int32_t begin[kRows];  ///< −128 · Σ rest of each row
    int32_t rest_end[kRows];
  };

  int64_t row;         ///< i8 [4 · quads], then
  int64_t centres;     ///< moved: two i16 a group, −128 · Σ code of its even and odd pairs
  int64_t norms;       ///< u8 [slices][kLimits]: largest Σ code² of a group's lanes, in units
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

  CodeClipper(CodeRests* to, int64_t most) : first_(to), most_(most) {}

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
      first_[count_++] = {{0, 0, 0, 0}, {}};
      used_ = sizes_[0] = sizes_[1] = 0;
    }
    CodeRests& rests = first_[count_ - 1];
    rests.offset[used_] = static_cast<int32_t>((first_quad + at / 4) * 4 * kTile);
    rests.codes[used_++][at % 4] = static_cast<int8_t>(taken);
    sizes_[lane] += size(taken);
  }

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

/// The larger one of the even and odd pairs' Σ code² for each of the groups in 8 quads; u8, in
/// units, as the largest of the rows so far.
template <typename V, bool kMoved>
inline void add_norms(__m256i norms, uint8_t* to) {
  constexpr int kUnit = GroupedWeights::unit(kMoved);
  if (!kMoved) norms = _mm256_add_epi32(norms, _mm256_permute4x64_epi64(norms, 0x4e));
  norms = _mm256_max_epi32(norms, _mm256_shuffle_epi32(norms, 0xb1));
  const auto add = [&](uint8_t& largest, int norm) {
    largest = std::max(largest, static_cast<uint8_t>((norm + kUnit - 1) / kUnit));
  };
  add(to[0], _mm256_extract_epi32(norms, 0));
  if (kMoved) add(to[1], _mm256_extract_epi32(norms, 4));
}

/// Clips 8 quads; what is left of them.
template <typename V>
inline __m256i clip(__m256i x, int8_t* codes, int32_t norm_limit, int64_t quad,
                    CodeClipper& clipper) {
  const __m256i sums = _mm256_abs_epi16(_mm256_maddubs_epi16(_mm256_set1_epi8(1), x));
  const __m256i pair_limit = _mm256_set1_epi16(CodeClipper::kPairLimit);
  const int pairs = _mm256_movemask_epi8(_mm256_cmpgt_epi16(sums, pair_limit));
  if (pairs != 0) {
    clipper.clip_pairs(codes, static_cast<uint32_t>(pairs), quad);
    x = load_bytes<V>(codes);
  }
  const __m256i beyond = _mm256_cmpgt_epi32(norms_of_codes<V>(x), _mm256_set1_epi32(norm_limit));
  const int norms = _mm256_movemask_ps(_mm256_castsi256_ps(beyond));
  if (norms == 0) return x;
  for (int lane = 0; lane < 4; ++lane) {
    if ((norms >> (lane % 2 + lane / 2 * 4) & 1) == 0) continue;
    clipper.clip_norm(codes + lane / 2 * 16, lane % 2 * 2, norm_limit, quad + lane / 2 * 4);
  }
  return load_bytes<V>(codes);
}

/// One row. False where it has too many rests, or negative codes: then its codes are as they came,
/// for add_words.
template <typename V, bool kMoved>
inline bool prepare_row(const uint8_t* from, const Int8Product& p, const PreparedBlock& block,
                        uint8_t* to, uint8_t* norms, CodeClipper& clipper) {
  const __m256i shift = _mm256_set1_epi8(static_cast<char>(p.zero));
  const int32_t norm_limit = p.weight->grouped->code_norm;
  auto* codes = reinterpret_cast<int8_t*>(to);
  auto* centres = reinterpret_cast<int32_t*>(to + block.centres);
  bool fits = true;
  for (int64_t quad = 0; quad < p.weight->quads && fits; quad += 8, codes += 32) {
    __m256i x = _mm256_sub_epi8(load_bytes<V>(from + 4 * quad), shift);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes), x);
    if (kMoved) {
      x = clip<V>(x, codes, norm_limit, quad, clipper);
      const __m256i both = centres_of_codes<V>(x);
      centres[quad / 4] = _mm256_extract_epi32(both, 0);
      centres[quad / 4 + 1] = _mm256_extract_epi32(both, 4);
    }
    add_norms<V, kMoved>(norms_of_codes<V>(x), norms + GroupedWeights::at(quad, kMoved));
    fits = kMoved ? !clipper.full() : _mm256_movemask_epi8(x) == 0;
  }
  if (fits) return true;
  for (int64_t k = 0; k < 4 * p.weight->quads; k += 32) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + k),
                        _mm256_sub_epi8(load_bytes<V>(from + k), shift));
  }
  return false;
}

template <typename V, bool kMoved>
void prepare_codes(const Int8Product& p) {
  const PreparedBlock block(p.weight->quads);
  for (int64_t first = 0; first < p.rows; first += PreparedBlock::kRows) {
    uint8_t* to = p.prepared + first / PreparedBlock::kRows * block.bytes;
    uint8_t* norms = to + block.norms;
    auto* rests = reinterpret_cast<CodeRests*>(to + block.rests);
    PreparedBlock::Head head{};
    std::fill_n(norms, block.head - block.norms, uint8_t{0});
    int32_t count = 0;
    bool fits = true;
    for (int64_t r = 0; r < PreparedBlock::kRows; ++r) {
      if (first + r < p.rows) {
        CodeClipper clipper(rests + count, block.most_rests);
        if (prepare_row<V, kMoved>(p.codes + (first + r) * p.codes_stride, p, block,
                                   to + r * block.row, norms, clipper)) {
          head.begin[r] = -128 * clipper.sum();
          count += static_cast<int32_t>(clipper.count());
        } else {
          fits = false;
        }
      }
      head.rest_end[r] = count;
    }
    if (!fits) std::fill_n(norms, block.head - block.norms, uint8_t{255});
    __builtin_memcpy(to + block.head, &head, sizeof head);
  }
}

}  // namespace heddle::ops::cpu
