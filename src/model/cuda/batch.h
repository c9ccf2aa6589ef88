// A batch of sentence pairs, or of a language model's texts, on a GPU: tokens, positions, labels,
// the masks, and the rows of each embedding in groups for the way back. The host's part is laid out
// ahead, by any thread; all of it goes there in one copy.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "heddle/autograd/cuda/tape.h"
#include "heddle/mask/device_mask.h"
#include "heddle/mask/mask.h"
#include "heddle/model/answer_groups.h"
#include "heddle/model/training.h"
#include "heddle/ops/cuda/launch.h"

namespace heddle::model::cuda {

/// Page-locked memory that a batch is laid out in.
class Staging {
 public:
  void clear() { used_ = 0; }

  /// Takes values over; returns their offset in bytes.
  template <typename T>
  int64_t put(std::span<const T> values) {
    return put_bytes(values.data(), static_cast<int64_t>(values.size_bytes()));
  }
  int64_t used() const { return used_; }
  const Tensor& memory() const { return memory_; }

 private:
  int64_t put_bytes(const void* from, int64_t bytes);

  Tensor memory_;  // i8
  int64_t used_ = 0;
};

/// Page-locked memory that goes round: it is slow to come by.
class StagingPool {
 public:
  std::unique_ptr<Staging> take() {
    const std::lock_guard lock(mutex_);
    if (free_.empty()) return std::make_unique<Staging>();
    std::unique_ptr<Staging> taken = std::move(free_.back());
    free_.pop_back();
    return taken;
  }
  void give(std::unique_ptr<Staging> staging) {
    const std::lock_guard lock(mutex_);
    free_.push_back(std::move(staging));
  }

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Staging>> free_;
};

/// Rows in groups, laid out: offsets of the arrays of ops::cuda::RowGroups.
struct GroupOffsets {
  int64_t order, starts, targets;
  int32_t groups;
};

struct SideOffsets {
  int64_t tokens, positions, offsets;
  GroupOffsets by_token, by_position;
  size_t count, sentences;  ///< T, S + 1
  int64_t longest;          ///< tokens of the longest sentence
};

struct MaskOffsets {
  ColumnMask mask;
  MaskReach reach;
  int64_t bounds;
};

/// Lays the mask's bounds out.
MaskOffsets lay_out(ColumnMask mask, Staging& staging);

/// They, once all that was laid out has been copied to `base` on the GPU.
heddle::cuda::DeviceColumns columns_of(const MaskOffsets& mask, const std::byte* base);

/// What a model wants to know of a batch.
struct BatchNeeds {
  bool learned_positions = false;  ///< rows by position too
  bool only_texts = false;         ///< a language model: targets, with labels where there are some
  int64_t window = 0;              ///< of layers that slide; 0: there are none
  bool scores = false;             ///< of groups: the last tokens of answers are looked at
};

/// The host's part of a batch.
class LaidOutBatch {
 public:
  LaidOutBatch(const TrainingBatch& batch, const BatchNeeds& needs,
               std::unique_ptr<Staging> memory);

  /// The memory, for the next batch.
  std::unique_ptr<Staging> release() { return std::move(staging_); }

 private:
  friend class DeviceBatch;

  void put_labels(const TrainingBatch& batch);
  void put_places(std::span<const size_t> places, size_t rows);
  void put_answers(const TrainingBatch& batch, bool scores);

  std::unique_ptr<Staging> staging_;
  SideOffsets source_, target_;
  MaskOffsets causal_;
  std::optional<MaskOffsets> documents_, cross_;  // of pairs
  std::optional<MaskOffsets> window_;             // causal_ within the window
  int64_t labels_, weights_, teacher_ids_, teacher_log_probabilities_;
  int64_t label_places_ = -1, places_of_rows_ = -1;  // of texts
  int64_t label_count_ = 0;
  bool weighted_ = false;
  std::optional<AnswerRows> answers_;  // of groups, with the next two
  int64_t answer_order_ = -1, answer_starts_ = -1;
};

/// One side's rows; pointers to the GPU.
struct BatchSide {
  std::span<const int32_t> tokens, positions, offsets;  ///< [T], [T], [S + 1]
  ops::cuda::RowGroups by_token, by_position;
  int64_t longest;
};

class DeviceBatch {
 public:
  /// Queues the copy; `host` must live until it is done. Lives in machine.values until the scope
  /// there ends.
  DeviceBatch(const LaidOutBatch& host, autograd::cuda::Machine& machine);

  const BatchSide& source() const { return source_; }
  const BatchSide& target() const { return target_; }

  // Labels and what belongs to them are those of all target rows, or of a text's rows with a label.
  const int32_t* labels() const { return at<int32_t>(host_.labels_); }
  const float* weights() const { return host_.weighted_ ? at<float>(host_.weights_) : nullptr; }
  const int32_t* teacher_ids() const { return at<int32_t>(host_.teacher_ids_); }
  const float* teacher_log_probabilities() const {
    return at<float>(host_.teacher_log_probabilities_);
  }

  // Texts: the rows with a label, [L], and of each row its place among these or −1, [T].
  int64_t label_count() const { return host_.label_count_; }
  const int32_t* label_places() const { return at<int32_t>(host_.label_places_); }
  const int32_t* places_of_rows() const { return at<int32_t>(host_.places_of_rows_); }

  // Groups: the rows that their loss reads, at label_places(), and for the way back the numbers of
  // these by place, [L], with the first of each place, [T + 1].
  const AnswerRows* answers() const { return host_.answers_ ? &*host_.answers_ : nullptr; }
  const int32_t* answer_order() const { return at<int32_t>(host_.answer_order_); }
  const int32_t* answer_starts() const { return at<int32_t>(host_.answer_starts_); }

  struct Masked {
    const ColumnMask* mask;
    DeviceMask on_device;
  };
  Masked& causal() { return causal_; }
  Masked& documents() { return *documents_; }  ///< this and the next: of pairs
  Masked& cross() { return *cross_; }
  Masked* window() { return window_ ? &*window_ : nullptr; }

  /// Attention computes hidden tiles, too.
  void skip_nothing() {
    causal_.on_device.skip_nothing();
    for (std::optional<Masked>* each : {&documents_, &cross_, &window_}) {
      if (*each) (*each)->on_device.skip_nothing();
    }
  }

 private:
  template <typename T>
  const T* at(int64_t offset) const {
    return reinterpret_cast<const T*>(base_ + offset);
  }
  BatchSide side(const SideOffsets& side) const;
  Masked masked(const MaskOffsets& mask, autograd::cuda::Machine& machine) const;
  std::optional<Masked> masked(const std::optional<MaskOffsets>& mask,
                               autograd::cuda::Machine& machine) const;

  const LaidOutBatch& host_;
  const std::byte* base_;
  BatchSide source_, target_;
  Masked causal_;
  std::optional<Masked> documents_, cross_, window_;
};

}  // namespace heddle::model::cuda
