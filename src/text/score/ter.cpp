// TER (Snover et al. 2006): edits of words, a shift of a block of words being one edit, over the
// mean length of the references. The search for shifts is Tercom's, with the limits that sacreBLEU
// sets it.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <tuple>

#include "heddle/base/error.h"
#include "heddle/text/score/metrics_internal.h"
#include "heddle/text/score/ngrams.h"
#include "heddle/text/score/words.h"

namespace heddle::text::score {

namespace {

constexpr size_t kLongestShift = 10;
constexpr size_t kFarthestShift = 50;
constexpr int64_t kBeam = 25;
constexpr int64_t kMostCandidates = 1000;
constexpr int64_t kNever = 10'000'000'000'000'000;

using Words = std::vector<uint32_t>;

enum class Edit : uint8_t { none, insert, erase, keep, replace };

/// Edit distances of changing hypotheses to one reference, in a band around the diagonal.
class EditDistance {
 public:
  explicit EditDistance(const Words& reference) : reference_(reference) {}

  /// Fills the rows of the matrix from the first word on that differs from the hypothesis before.
  /// All hypotheses have the same length, on which the band depends.
  int64_t operator()(const Words& hypothesis) {
    const size_t width = reference_.size() + 1;
    size_t row = 0;
    if (cells_.size() != (hypothesis.size() + 1) * width) {
      cells_.resize((hypothesis.size() + 1) * width);
      for (size_t j = 0; j < width; ++j) cells_[j] = {static_cast<int64_t>(j), Edit::insert};
    } else {
      while (row < hypothesis.size() && hypothesis[row] == hypothesis_[row]) ++row;
    }
    hypothesis_ = hypothesis;
    for (size_t i = row + 1; i <= hypothesis.size(); ++i) fill(i);
    return cells_.back().cost;
  }

  /// What the last call did to each word, from the first to the last.
  std::vector<Edit> edits() const {
    std::vector<Edit> edits;
    size_t i = hypothesis_.size(), j = reference_.size();
    while (i > 0 || j > 0) {
      const Edit edit = cell(i, j).edit;
      HEDDLE_CHECK(edit != Edit::none, "ter: found no way through the band");
      edits.push_back(edit);
      if (edit != Edit::insert) --i;
      if (edit != Edit::erase) --j;
    }
    return {edits.rbegin(), edits.rend()};
  }

 private:
  struct Cell {
    int64_t cost = kNever;
    Edit edit = Edit::none;
  };

  const Cell& cell(size_t i, size_t j) const { return cells_[i * (reference_.size() + 1) + j]; }

  void fill(size_t i) {
    const size_t width = reference_.size() + 1;
    Cell* row = &cells_[i * width];
    const Cell* above = row - width;
    std::fill(row, row + width, Cell{});
    const double ratio =
        static_cast<double>(reference_.size()) / static_cast<double>(hypothesis_.size());
    int64_t beam = kBeam;
    if (static_cast<double>(kBeam) < ratio / 2) {
      beam = static_cast<int64_t>(std::ceil(ratio / 2 + static_cast<double>(kBeam)));
    }
    const auto diagonal = static_cast<int64_t>(std::floor(static_cast<double>(i) * ratio));
    const auto end = static_cast<int64_t>(width);
    const auto first = static_cast<size_t>(std::max<int64_t>(0, diagonal - beam));
    const auto last = static_cast<size_t>(std::min(end, diagonal + beam));
    for (size_t j = first; j < (i == hypothesis_.size() ? width : last); ++j) {
      if (j == 0) {
        row[0] = {above[0].cost + 1, Edit::erase};
        continue;
      }
      const bool same = hypothesis_[i - 1] == reference_[j - 1];
      const auto offer = [&](int64_t cost, Edit edit) {
        if (row[j].cost > cost) row[j] = {cost, edit};
      };
      offer(above[j - 1].cost + (same ? 0 : 1), same ? Edit::keep : Edit::replace);
      offer(above[j].cost + 1, Edit::erase);
      offer(row[j - 1].cost + 1, Edit::insert);
    }
  }

  const Words& reference_;
  Words hypothesis_;
  std::vector<Cell> cells_;  // [hypothesis + 1, reference + 1]
};

/// Which word of the hypothesis stands where a word of the reference does, and where both are
/// wrong.
struct Alignment {
  std::vector<int64_t> to_hypothesis;  // -1: before its first word
  std::vector<bool> reference_wrong, hypothesis_wrong;

  explicit Alignment(const std::vector<Edit>& edits) {
    int64_t at = -1;
    for (const Edit edit : edits) {
      const bool wrong = edit != Edit::keep;
      if (edit != Edit::insert) {
        ++at;
        hypothesis_wrong.push_back(wrong);
      }
      if (edit != Edit::erase) {
        to_hypothesis.push_back(at);
        reference_wrong.push_back(wrong);
      }
    }
  }
};

/// The words with [start, start + length) moved to stand before what was at `target`.
Words shifted(const Words& words, size_t start, size_t length, size_t target) {
  Words result;
  result.reserve(words.size());
  const auto add = [&](size_t begin, size_t end) {
    for (size_t i = begin; i < std::min(end, words.size()); ++i) result.push_back(words[i]);
  };
  if (target < start) {
    add(0, target);
    add(start, start + length);
    add(target, start);
    add(start + length, words.size());
  } else if (target > start + length) {
    add(0, start);
    add(start + length, target);
    add(start, start + length);
    add(target, words.size());
  } else {
    add(0, start);
    add(start + length, length + target);
    add(start, start + length);
    add(length + target, words.size());
  }
  return result;
}

/// Looks for the shift that saves the most edits.
class ShiftSearch {
 public:
  ShiftSearch(const Words& hypothesis, const Words& reference)
      : words_(hypothesis), reference_(reference), distance_(reference) {}

  /// Edits, shifts among them.
  int64_t run() {
    int64_t shifts = 0;
    for (;;) {
      const bool better = find();
      if (candidates_ >= kMostCandidates || !better) break;
      ++shifts;
      words_ = best_words_;
    }
    return shifts + distance_(words_);
  }

 private:
  /// Saved edits first, then long blocks, then early ones, then early targets.
  using Rank = std::tuple<int64_t, size_t, int64_t, int64_t>;

  bool find() {
    before_ = distance_(words_);
    const Alignment alignment(distance_.edits());
    found_ = false;
    for (size_t h = 0; h < words_.size() && candidates_ < kMostCandidates; ++h) {
      for (size_t r = 0; r < reference_.size() && candidates_ < kMostCandidates; ++r) {
        if ((h > r ? h - r : r - h) <= kFarthestShift) try_blocks(alignment, h, r);
      }
    }
    return found_ && std::get<0>(best_) > 0;
  }

  /// All blocks that begin at word h of the hypothesis and at word r of the reference.
  void try_blocks(const Alignment& alignment, size_t h, size_t r) {
    bool hypothesis_wrong = false, reference_wrong = false;
    for (size_t length = 1; length <= kLongestShift; ++length) {
      const size_t last_h = h + length - 1, last_r = r + length - 1;
      if (last_h >= words_.size() || last_r >= reference_.size()) return;
      if (words_[last_h] != reference_[last_r]) return;
      hypothesis_wrong = hypothesis_wrong || alignment.hypothesis_wrong[last_h];
      reference_wrong = reference_wrong || alignment.reference_wrong[last_r];
      const int64_t aligned = alignment.to_hypothesis[r];
      const bool inside =
          aligned >= static_cast<int64_t>(h) && aligned < static_cast<int64_t>(h + length);
      if (!hypothesis_wrong || !reference_wrong || inside) continue;
      try_targets(alignment, h, r, length);
      if (candidates_ >= kMostCandidates) return;
    }
  }

  void try_targets(const Alignment& alignment, size_t h, size_t r, size_t length) {
    int64_t previous = -1;
    for (size_t offset = 0; offset <= length; ++offset) {
      // Behind the word aligned with the one before the block, with its first, …
      const int64_t target = r + offset == 0 ? 0 : alignment.to_hypothesis[r + offset - 1] + 1;
      if (target == previous) continue;
      previous = target;
      Words moved = shifted(words_, h, length, static_cast<size_t>(target));
      const Rank rank{before_ - distance_(moved), length, -static_cast<int64_t>(h), -target};
      ++candidates_;
      if (found_ && rank <= best_) continue;
      found_ = true;
      best_ = rank;
      best_words_ = std::move(moved);
    }
  }

  Words words_;
  const Words& reference_;
  EditDistance distance_;
  int64_t before_ = 0;
  int64_t candidates_ = 0;
  bool found_ = false;
  Rank best_;
  Words best_words_;
};

class Ter : public Metric {
 public:
  /// Counts: fewest edits to a reference, mean length of the references.
  Counts measure(std::string_view hypothesis,
                 std::span<const std::string_view> references) const override {
    std::vector<std::string> texts{lower(strip_right(hypothesis))};
    for (const std::string_view reference : references) {
      texts.push_back(lower(strip_right(reference)));
    }
    WordNumbers numbers;
    const Words words = numbers.of(split_words(texts[0]));
    int64_t fewest = kNever;
    size_t lengths = 0;
    for (size_t i = 1; i < texts.size(); ++i) {
      const Words reference = numbers.of(split_words(texts[i]));
      lengths += reference.size();
      const int64_t edits = reference.empty() ? static_cast<int64_t>(words.size())
                                              : ShiftSearch(words, reference).run();
      fewest = std::min(fewest, edits);
    }
    return {static_cast<double>(fewest),
            static_cast<double>(lengths) / static_cast<double>(references.size())};
  }

  Score score(const Counts& counts, size_t references) const override {
    double value = counts[0] > 0 ? 1 : 0;  // when the references are empty
    if (counts[1] > 0) value = counts[0] / counts[1];
    return {"TER",
            100 * value,
            str("nrefs:", references,
                "|case:lc|tok:tercom|norm:no|punct:yes|asian:no|version:", kSacrebleuVersion),
            {}};
  }
};

}  // namespace

std::unique_ptr<Metric> make_ter() { return std::make_unique<Ter>(); }

}  // namespace heddle::text::score
