// Where batches come from: a packer over data, opened at any position.
#pragma once

#include <memory>

#include "heddle/data/packer.h"
#include "heddle/data/row_packer.h"
#include "heddle/io/value.h"

namespace heddle::train {

/// Batches one after another; as data::Packer has it.
class BatchStream {
 public:
  virtual ~BatchStream() = default;

  /// The next batch; false at the end of an epoch, and the next call begins the next one.
  virtual bool next(data::PackedBatch& batch) = 0;
  virtual data::PackerPosition position() const = 0;
  virtual double progress() const = 0;  ///< share of the epoch that was given
};

/// A stream for each use. Data and source outlive their streams.
class BatchSource {
 public:
  virtual ~BatchSource() = default;
  virtual bool empty() const = 0;
  virtual std::unique_ptr<BatchStream> open(const data::PackerPosition& position) const = 0;

  /// Adds what a resumed run must have in common.
  virtual void describe(io::Value& fixed) const = 0;
};

/// Sentence pairs.
class PairBatches : public BatchSource {
 public:
  PairBatches(const data::TokenPairs& pairs, const data::PackerOptions& options)
      : pairs_(pairs), options_(options) {}
  bool empty() const override { return pairs_.size() == 0; }
  std::unique_ptr<BatchStream> open(const data::PackerPosition& position) const override;
  void describe(io::Value& fixed) const override;

 private:
  data::TokenPairs pairs_;
  data::PackerOptions options_;
};

/// Packed rows of examples for a language model, `rows` of them in a batch: documents that do not
/// see each other, as targets without sources.
class RowBatches : public BatchSource {
 public:
  RowBatches(data::TokenExamples examples, const data::RowPackerOptions& options, int64_t rows);
  bool empty() const override { return examples_.size() == 0; }
  std::unique_ptr<BatchStream> open(const data::PackerPosition& position) const override;
  void describe(io::Value& fixed) const override;

  /// Of epoch 0: what a schedule is counted by.
  int64_t batches_in_epoch() const;

 private:
  data::TokenExamples examples_;
  data::RowPackerOptions options_;
  int64_t rows_;
};

}  // namespace heddle::train
