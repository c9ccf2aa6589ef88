#include "heddle/ops/project.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "heddle/base/threads.h"
#include "heddle/ops/product.h"

namespace heddle::ops {

namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

/// Columns whose logits are made at once, before they are looked at.
constexpr int64_t kBlock = 256;
constexpr int64_t kSharedBlock = 64 * kBlock;
static_assert(kBlock % cpu::kTile == 0);

/// The best tokens of one row so far, and the sum of its exponentials.
class RowChoice {
 public:
  RowChoice(int32_t* ids, float* logits, int64_t k) : ids_(ids), logits_(logits), k_(k) {
    std::fill(ids, ids + k, -1);
    std::fill(logits, logits + k, kNone);
  }

  /// Token of element i: tokens[i], or first + i without tokens. Tokens come in rising order, so
  /// that an equal logit comes behind those that are there.
  void look_at(const cpu::Kernels& kernels, const float* logits, int64_t count,
               const int32_t* tokens, int64_t first) {
    if (!(kernels.most(logits, count) > logits_[k_ - 1])) return;
    for (int64_t i = 0; i < count; ++i) {
      if (!(logits[i] > logits_[k_ - 1])) continue;
      const int32_t token = tokens != nullptr ? tokens[i] : static_cast<int32_t>(first + i);
      insert(logits[i], token);
    }
  }

  /// Adds Σ exp of some logits, which are overwritten.
  void add_exponentials(const cpu::Kernels& kernels, float* logits, int64_t count) {
    for (int64_t i = 0; i < count; ++i) {
      if (std::isnan(logits[i])) logits[i] = kNone;
    }
    float max = 0;
    const double sum = kernels.exponentials(logits, count, &max);
    if (max > max_) {
      sum_ *= std::exp(static_cast<double>(max_) - max);
      max_ = max;
    }
    sum_ += sum * std::exp(static_cast<double>(max) - max_);
  }

  float log_sum() const { return sum_ > 0 ? static_cast<float>(max_ + std::log(sum_)) : kNone; }

 private:
  void insert(float logit, int32_t token) {
    int64_t at = k_ - 1;
    for (; at > 0 && logit > logits_[at - 1]; --at) {
      logits_[at] = logits_[at - 1];
      ids_[at] = ids_[at - 1];
    }
    logits_[at] = logit;
    ids_[at] = token;
  }

  int32_t* ids_;
  float* logits_;
  int64_t k_;
  float max_ = std::numeric_limits<float>::lowest();
  double sum_ = 0;
};

std::span<const int32_t> list_of(const IdLists& lists, int64_t row) {
  if (!lists.given()) return {};
  const size_t r = lists.offsets.size() == 2 ? 0 : static_cast<size_t>(row);
  const auto first = static_cast<size_t>(lists.offsets[r]);
  return lists.ids.subspan(first, static_cast<size_t>(lists.offsets[r + 1]) - first);
}

/// Logits of banned tokens become −inf. Token of element i as in RowChoice.
void ban(std::span<const int32_t> banned, float* logits, int64_t count, const int32_t* tokens,
         int64_t first) {
  if (banned.empty()) return;
  const int32_t lowest = tokens != nullptr ? tokens[0] : static_cast<int32_t>(first);
  for (auto id = std::lower_bound(banned.begin(), banned.end(), lowest); id != banned.end(); ++id) {
    int64_t i = *id - first;
    if (tokens != nullptr) {
      const int32_t* found = std::lower_bound(tokens, tokens + count, *id);
      if (found == tokens + count) return;
      if (*found != *id) continue;
      i = found - tokens;
    }
    if (i >= count) return;
    logits[i] = kNone;
  }
}

void check_lists(const IdLists& lists, int64_t rows, int64_t vocabulary, const char* what) {
  if (!lists.given()) return;
  const auto count = static_cast<int64_t>(lists.offsets.size()) - 1;
  HEDDLE_CHECK(count == rows || count == 1, "project: ", count, " lists of ", what, " for ", rows,
               " rows");
  HEDDLE_CHECK(lists.offsets.front() >= 0 &&
                   std::is_sorted(lists.offsets.begin(), lists.offsets.end()) &&
                   lists.offsets.back() <= static_cast<int64_t>(lists.ids.size()),
               "project: offsets of ", what, " do not cut ", lists.ids.size(), " ids");
  for (size_t n = 0; n < static_cast<size_t>(count); ++n) {
    const auto first = static_cast<size_t>(lists.offsets[n]);
    const auto end = static_cast<size_t>(lists.offsets[n + 1]);
    if (first == end) continue;
    HEDDLE_CHECK(lists.ids[first] >= 0 && lists.ids[end - 1] < vocabulary, "project: list ", n,
                 " of ", what, " holds ", lists.ids[first], " … ", lists.ids[end - 1],
                 "; expected [0, ", vocabulary, "), rising");
  }
}

/// One call: where results go, and what is looked at.
class Selection {
 public:
  Selection(Rows& x, const Projection& projection, int64_t k, const Choice& choice,
            Workspace& workspace)
      : x_(x),
        projection_(projection),
        choice_(choice),
        kernels_(projection.weight->kernels()),
        input_(x, *projection.weight, workspace),
        logits_(choice.logits != nullptr ? choice.logits : workspace.take<float>(x.count() * k)),
        rows_(workspace.take<RowChoice>(x.count())) {
    for (int64_t r = 0; r < x.count(); ++r) {
      new (rows_ + r) RowChoice(choice.ids + r * k, logits_ + r * k, k);
    }
  }

  /// All rows of the weight, block by block.
  void choose_among_all(Workspace& workspace) {
    const int64_t vocabulary = projection_.weight->rows();
    // Threads share what is multiplied, one looks at it: so they need more to share.
    const int64_t width = workspace.threads() != nullptr && workspace.threads()->threads() > 1
                              ? kSharedBlock
                              : kBlock;
    float* block = workspace.take<float>(x_.count() * width);  // [R, width]
    for (int64_t first = 0; first < vocabulary; first += width) {
      const int64_t end = std::min(first + width, vocabulary);
      multiply({first, end}, block, width, workspace);
      for (int64_t at = first; at < end; at += kBlock) {
        const int64_t count = std::min(kBlock, end - at);
        const int32_t* tokens =
            projection_.tokens.empty() ? nullptr : projection_.tokens.data() + at;
        for (int64_t r = 0; r < x_.count(); ++r) {
          look_at(r, block + r * width + at - first, count, tokens, at);
        }
      }
    }
    finish();
  }

  /// Each row among its candidates.
  void choose_among_candidates(Workspace& workspace) {
    const Codes* codes = input_.codes();
    const int64_t scratch_bytes = codes != nullptr ? codes->stride : 0;
    float* logits = workspace.take<float>(kBlock);
    int32_t* totals = workspace.take<int32_t>(kBlock);
    uint8_t* scratch = workspace.take<uint8_t>(2 * scratch_bytes);
    for (int64_t r = 0; r < x_.count(); ++r) {
      const std::span<const int32_t> ids = list_of(projection_.candidates, r);
      cpu::RowDots dots{.x = codes == nullptr ? x_.row(r) : nullptr,
                        .codes = codes != nullptr ? codes->data + r * codes->stride : nullptr,
                        .zero = codes != nullptr ? codes->zero : 0,
                        .step = codes == nullptr          ? 0
                                : codes->steps != nullptr ? codes->steps[r]
                                                          : codes->step,
                        .int8 = projection_.weight->int8(),
                        .floats = projection_.weight->floats(),
                        .ids = ids.data(),
                        .count = 0,
                        .bias = projection_.bias,
                        .logits = logits,
                        .totals = totals,
                        .scratch = scratch,
                        .scratch_bytes = scratch_bytes};
      const auto total = static_cast<int64_t>(ids.size());
      for (int64_t first = 0; first < total; first += kBlock) {
        dots.ids = ids.data() + first;
        dots.count = std::min(kBlock, total - first);
        codes != nullptr ? kernels_.dot_rows_int8(dots) : kernels_.dot_rows_float(dots);
        look_at(r, logits, dots.count, dots.ids, 0);
      }
    }
    finish();
  }

 private:
  void multiply(cpu::Span columns, float* block, int64_t stride, Workspace& workspace) {
    input_.multiply_shared(
        columns,
        {.bias = projection_.bias != nullptr ? projection_.bias + columns.first : nullptr,
         .activation = Activation::none,
         .residual = nullptr,
         .residual_stride = 0,
         .y = block,
         .y_stride = stride,
         .codes = nullptr,
         .codes_stride = 0,
         .inverse_step = 0,
         .zero = 0},
        workspace);
  }

  void look_at(int64_t r, float* logits, int64_t count, const int32_t* tokens, int64_t first) {
    ban(list_of(projection_.banned, r), logits, count, tokens, first);
    rows_[r].look_at(kernels_, logits, count, tokens, first);
    if (choice_.log_sums != nullptr) rows_[r].add_exponentials(kernels_, logits, count);
  }

  void finish() {
    if (choice_.log_sums == nullptr) return;
    for (int64_t r = 0; r < x_.count(); ++r) choice_.log_sums[r] = rows_[r].log_sum();
  }

  Rows& x_;
  const Projection& projection_;
  const Choice& choice_;
  const cpu::Kernels& kernels_;
  ProductInput input_;
  float* logits_;    // [R, k]
  RowChoice* rows_;  // [R]
};

}  // namespace

void argmax(Rows& x, const Projection& projection, const Choice& choice, Workspace& workspace) {
  top_k(x, projection, 1, choice, workspace);
}

void top_k(Rows& x, const Projection& projection, int64_t k, const Choice& choice,
           Workspace& workspace) {
  HEDDLE_CHECK(projection.weight != nullptr && projection.weight->defined() &&
                   x.width() == projection.weight->columns(),
               "project: x [", x.count(), ", ", x.width(), "] does not fit the weight");
  HEDDLE_CHECK(k >= 1 && k <= kMaxTopK, "project: k = ", k, "; expected 1 … ", kMaxTopK);
  HEDDLE_CHECK(choice.ids != nullptr, "project: nowhere to write the ids");
  const int64_t vocabulary = projection.weight->rows();
  HEDDLE_CHECK(
      projection.tokens.empty() || (static_cast<int64_t>(projection.tokens.size()) == vocabulary &&
                                    !projection.candidates.given()),
      "project: ", projection.tokens.size(), " tokens for ", vocabulary,
      " rows of the weight; expected as many, and no candidates");
  check_lists(projection.candidates, x.count(), vocabulary, "candidates");
  check_lists(projection.banned, x.count(), std::numeric_limits<int32_t>::max(), "banned tokens");
  const Workspace::Scope scope(workspace);
  Selection selection(x, projection, k, choice, workspace);
  if (projection.candidates.given()) {
    HEDDLE_CHECK(projection.weight->int8() == nullptr || projection.weight->has_plain_rows(),
                 "project: candidates need a table of tokens; the weight has ", vocabulary,
                 " rows");
    selection.choose_among_candidates(workspace);
  } else {
    selection.choose_among_all(workspace);
  }
}

}  // namespace heddle::ops
