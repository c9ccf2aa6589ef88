#include "heddle/attention/cpu/short_documents.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "heddle/attention/cpu/problem.h"
#include "heddle/attention/cpu/tables.h"

namespace heddle::attention::cpu {

namespace {

/// Longer documents fill the tiles of the other kernels well.
constexpr int32_t kMostKeys = 512;

const DocumentKernel& best_kernel() {
#if defined(__x86_64__)
  if (avx512_kernels() != nullptr) return kDocumentsAvx512;
  if (avx2_kernels() != nullptr) return kDocumentsAvx2;
#endif
  return kDocumentsPortable;
}

bool fits(const Tensor& tensor, int lanes) {
  return tensor.dtype() == DType::f32 && tensor.dim(2) % lanes == 0 && tensor.stride(2) == 1;
}

float* at(const Tensor& tensor, int32_t row, int64_t head) {
  return tensor.data<float>() + row * tensor.stride(0) + head * tensor.stride(1);
}

/// One thread's memory for the longest document.
class Worker {
 public:
  Worker(const Args& args, const DocumentKernel& kernel, int32_t rows, int32_t keys)
      : args_(args),
        kernel_(kernel),
        factor_(static_cast<float>(args.scale.value_or(1 / std::sqrt(args.q.dim(2))) * M_LOG2E)),
        scratch_(padded(keys) * (args.q.dim(2) + kMostRows) + 2 * int64_t{rows} + 64),
        panels_(scratch_.take(padded(keys) * args.q.dim(2))),
        scores_(scratch_.take(padded(keys) * kMostRows)),
        max_(scratch_.take(rows)),
        sum_(scratch_.take(rows)) {}

  void run(const Document& document) {
    const int64_t group = args_.q.dim(1) / args_.k.dim(1);
    for (int64_t head = 0; head < args_.q.dim(1); ++head) run(document, head, head / group);
  }

 private:
  static int64_t padded(int32_t keys) {
    return (keys + kKeyPadding - 1) / kKeyPadding * kKeyPadding;
  }

  void run(const Document& document, int64_t head, int64_t kv_head) {
    const int rows = document.row_end - document.row;
    kernel_.run({.q = at(args_.q, document.row, head),
                 .k = at(args_.k, document.key, kv_head),
                 .v = at(args_.v, document.key, kv_head),
                 .out = at(args_.out, document.row, head),
                 .q_stride = args_.q.stride(0),
                 .k_stride = args_.k.stride(0),
                 .v_stride = args_.v.stride(0),
                 .out_stride = args_.out.stride(0),
                 .rows = rows,
                 .keys = document.key_end - document.key,
                 .head_dim = static_cast<int>(args_.q.dim(2)),
                 .value_dim = static_cast<int>(args_.v.dim(2)),
                 .factor = factor_,
                 .panels = panels_,
                 .scores = scores_,
                 .max = max_,
                 .sum = sum_});
    float* lse = args_.lse.data<float>() + head * args_.lse.stride(0) + document.row;
    constexpr float kLn2 = 0.69314718f;
    for (int r = 0; r < rows; ++r) lse[r] = max_[r] * kLn2 + std::log(sum_[r]);
  }

  const Args& args_;
  const DocumentKernel& kernel_;
  float factor_;
  Scratch scratch_;
  float *panels_, *scores_, *max_, *sum_;
};

/// The rows that look at a column, as one range; nothing where they are two.
std::optional<Document> rows_of_column(const MaskColumn& column, int32_t length, int32_t key) {
  Document rows{0, length, key, key + 1};
  if (column.uts < column.ute) {
    if (column.uts != 0) return {};
    rows.row = column.ute;
  }
  if (column.lts < column.lte) {
    if (column.lte != length) return {};
    rows.row_end = std::max(column.lts, rows.row);
  }
  return rows;
}

/// Rows [first, end) see nothing.
void clear_rows(const Args& args, int32_t first, int32_t end) {
  for (int32_t row = first; row < end; ++row) {
    for (int64_t head = 0; head < args.q.dim(1); ++head) {
      float* out = at(args.out, row, head);
      std::fill(out, out + args.out.dim(2), 0.0f);
      args.lse.data<float>()[head * args.lse.stride(0) + row] =
          -std::numeric_limits<float>::infinity();
    }
  }
}

}  // namespace

std::vector<Document> documents_of(const ColumnMask& mask, int32_t most) {
  std::vector<Document> documents;
  if (mask.causal() || mask.heads() != 1) return {};
  for (int32_t key = 0; key < mask.key_length(); ++key) {
    const auto rows = rows_of_column(mask.column(0, key), mask.query_length(), key);
    if (!rows) return {};
    const Document& here = *rows;
    if (here.row == here.row_end) continue;  // nobody looks at it
    if (!documents.empty()) {
      Document& last = documents.back();
      if (here.row == last.row && here.row_end == last.row_end && key == last.key_end) {
        if (++last.key_end - last.key > most) return {};
        continue;
      }
      if (here.row < last.row_end) return {};
    }
    documents.push_back(here);
  }
  return documents;
}

bool DocumentsRow::applies(const Args& args, Pass pass) {
  if (pass != Pass::forward || args.q.device().type != DeviceType::cpu || args.softcap > 0 ||
      args.sinks.defined() || args.alibi_slopes.defined()) {
    return false;
  }
  const int lanes = best_kernel().lanes;
  return fits(args.q, lanes) && fits(args.k, lanes) && fits(args.v, lanes) &&
         fits(args.out, lanes) && !documents_of(*args.mask, kMostKeys).empty();
}

void DocumentsRow::forward(const Args& args) {
  const std::vector<Document> documents = documents_of(*args.mask, kMostKeys);
  int32_t rows = 0, keys = 0, done = 0;
  for (const Document& document : documents) {
    rows = std::max(rows, document.row_end - document.row);
    keys = std::max(keys, document.key_end - document.key);
    clear_rows(args, done, document.row);
    done = document.row_end;
  }
  clear_rows(args, done, args.mask->query_length());
  std::vector<Worker> workers;
  for (int t = 0; t < thread_count(args.threads); ++t) {
    workers.emplace_back(args, best_kernel(), rows, keys);
  }
  for_each_item(args.threads, static_cast<int64_t>(documents.size()),
                [&](int64_t index, int thread) {
                  workers[static_cast<size_t>(thread)].run(documents[static_cast<size_t>(index)]);
                });
}

}  // namespace heddle::attention::cpu
