// The batches of a source, each made while the one before it is trained on.
#pragma once

#include <future>

#include <memory>

#include "heddle/train/batch_source.h"
#include "heddle/train/trainable.h"

namespace heddle::train {

class BatchAhead {
 public:
  /// The model prepares each batch.
  BatchAhead(const BatchSource& source, const data::PackerPosition& position, Trainable& model)
      : stream_(source.open(position)), model_(model) {
    given_.position = position;
    given_.progress = stream_->progress();
    made_ = std::async(std::launch::async, [this] { return make(); });
  }
  BatchAhead(const BatchAhead&) = delete;
  BatchAhead& operator=(const BatchAhead&) = delete;

  /// The next batch, until the one after it is asked for; null at the end of an epoch, and the next
  /// call begins the next one.
  const data::PackedBatch* next() {
    given_ = made_.get();
    made_ = std::async(std::launch::async, [this] { return make(); });
    return given_.found ? &given_.batch : nullptr;
  }

  // After the batch that was given last.
  const data::PackerPosition& position() const { return given_.position; }
  double progress() const { return given_.progress; }

 private:
  struct Made {
    bool found = false;
    data::PackedBatch batch;
    data::PackerPosition position;
    double progress = 0;
  };

  Made make() {
    Made made;
    made.found = stream_->next(made.batch);
    made.position = stream_->position();
    made.progress = stream_->progress();
    if (made.found) model_.prepare(made.batch);
    return made;
  }

  std::unique_ptr<BatchStream> stream_;
  Trainable& model_;
  Made given_;
  std::future<Made> made_;  // last: waits for the thread before the rest goes
};

}  // namespace heddle::train
