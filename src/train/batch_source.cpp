#include "heddle/train/batch_source.h"

#include "heddle/base/error.h"

namespace heddle::train {

namespace {

class PairStream : public BatchStream {
 public:
  PairStream(const data::TokenPairs& pairs, const data::PackerOptions& options,
             const data::PackerPosition& position)
      : packer_(pairs, options, position) {}
  bool next(data::PackedBatch& batch) override { return packer_.next(batch); }
  data::PackerPosition position() const override { return packer_.position(); }
  double progress() const override { return packer_.progress(); }

 private:
  data::Packer packer_;
};

void append_row(const data::PackedRow& row, data::PackedBatch& batch) {
  const auto first = static_cast<int32_t>(batch.targets.size());
  batch.targets.insert(batch.targets.end(), row.tokens.begin(), row.tokens.end());
  batch.labels.insert(batch.labels.end(), row.labels.begin(), row.labels.end());
  for (size_t i = 1; i < row.offsets.size(); ++i) {
    batch.target_offsets.push_back(first + row.offsets[i]);
  }
  batch.pairs.insert(batch.pairs.end(), row.examples.begin(), row.examples.end());
}

class RowStream : public BatchStream {
 public:
  RowStream(data::TokenExamples examples, const data::RowPackerOptions& options, int64_t rows,
            const data::PackerPosition& position)
      : packer_(examples, options, position), rows_(rows) {}

  /// An epoch's last batch may have fewer rows; no batch has rows of two epochs.
  bool next(data::PackedBatch& batch) override {
    batch = {};
    batch.target_offsets.push_back(0);
    if (ended_) {
      ended_ = false;
      return false;
    }
    for (int64_t i = 0; i < rows_; ++i) {
      if (!packer_.next(row_)) {
        ended_ = i > 0;  // told by the next call
        return i > 0;
      }
      append_row(row_, batch);
    }
    return true;
  }

  data::PackerPosition position() const override { return packer_.position(); }
  double progress() const override { return ended_ ? 0 : packer_.progress(); }

 private:
  data::RowPacker packer_;
  int64_t rows_;
  data::PackedRow row_;
  bool ended_ = false;
};

}  // namespace

std::unique_ptr<BatchStream> PairBatches::open(const data::PackerPosition& position) const {
  return std::make_unique<PairStream>(pairs_, options_, position);
}

void PairBatches::describe(io::Value& fixed) const {
  fixed.set("max_tokens_per_batch", options_.max_tokens);
  fixed.set("window", options_.window);
  fixed.set("data_seed", io::Value(static_cast<int64_t>(options_.seed)));
}

RowBatches::RowBatches(data::TokenExamples examples, const data::RowPackerOptions& options,
                       int64_t rows)
    : examples_(examples), options_(options), rows_(rows) {
  HEDDLE_CHECK(rows >= 1, "per_device_train_batch_size: found ", rows, "; expected at least 1");
}

std::unique_ptr<BatchStream> RowBatches::open(const data::PackerPosition& position) const {
  return std::make_unique<RowStream>(examples_, options_, rows_, position);
}

void RowBatches::describe(io::Value& fixed) const {
  fixed.set("per_device_train_batch_size", rows_);
  fixed.set("packing", options_.packs);
  fixed.set("packing_length", options_.packing_length);
  fixed.set("window", options_.window);
  fixed.set("data_seed", io::Value(static_cast<int64_t>(options_.seed)));
}

int64_t RowBatches::batches_in_epoch() const {
  const auto rows = static_cast<int64_t>(data::RowPacker(examples_, options_).rows_in_epoch(0));
  return (rows + rows_ - 1) / rows_;
}

}  // namespace heddle::train
