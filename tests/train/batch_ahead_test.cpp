// Batches made ahead are those of the source, each prepared once, whatever goes wrong.
#include "heddle/train/batch_ahead.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "heddle/base/error.h"
#include "tests/train/fake_model.h"

namespace heddle::train {
namespace {

using namespace heddle::testing;

/// Batches of one pair each, numbered through; three epochs of seven.
class Numbers : public BatchSource {
 public:
  explicit Numbers(uint64_t broken = UINT64_MAX) : broken_(broken) {}
  bool empty() const override { return false; }
  std::unique_ptr<BatchStream> open(const data::PackerPosition& position) const override {
    return std::make_unique<Stream>(position, broken_);
  }
  void describe(io::Value&) const override {}

  static constexpr uint64_t kBatches = 7;

 private:
  class Stream : public BatchStream {
   public:
    Stream(const data::PackerPosition& position, uint64_t broken)
        : position_(position), broken_(broken) {}
    bool next(data::PackedBatch& batch) override {
      HEDDLE_CHECK(position_.epoch * kBatches + position_.batch != broken_, "broken data");
      if (position_.batch == kBatches) {
        position_ = {position_.epoch + 1, 0, 0};
        return false;
      }
      batch = {};
      batch.pairs = {position_.epoch * kBatches + position_.batch};
      ++position_.batch;
      return true;
    }
    data::PackerPosition position() const override { return position_; }
    double progress() const override {
      return static_cast<double>(position_.batch) / static_cast<double>(kBatches);
    }

   private:
    data::PackerPosition position_;
    uint64_t broken_;
  };

  uint64_t broken_;
};

/// Notes what it prepares, and takes its time for it.
class Preparing : public FakeModel {
 public:
  void prepare(data::PackedBatch& batch) override {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    HEDDLE_CHECK(batch.pairs[0] != broken, "cannot be prepared");
    ++prepared;
    batch.prepared = std::make_shared<uint64_t>(batch.pairs[0]);
  }
  std::atomic<int> prepared{0};
  uint64_t broken = UINT64_MAX;
};

TEST(BatchAhead, GivesTheSourcesBatchesAndItsPositionsFromAnyPlace) {
  for (const uint64_t first : {0, 3, 6, 7}) {
    const Numbers source;
    Preparing model;
    const auto plain = source.open({.epoch = 0, .window = 0, .batch = first});
    BatchAhead ahead(source, {.epoch = 0, .window = 0, .batch = first}, model);
    EXPECT_EQ(ahead.position().batch, first);
    EXPECT_EQ(ahead.progress(), plain->progress());
    int given = 0;
    for (int i = 0; i < 20; ++i) {
      data::PackedBatch expected;
      const bool more = plain->next(expected);
      const data::PackedBatch* batch = ahead.next();
      ASSERT_EQ(batch != nullptr, more) << i;
      EXPECT_TRUE(ahead.position() == plain->position()) << i;
      EXPECT_EQ(ahead.progress(), plain->progress()) << i;
      if (!more) continue;
      ++given;
      EXPECT_EQ(batch->pairs, expected.pairs);
      EXPECT_EQ(*static_cast<uint64_t*>(batch->prepared.get()), expected.pairs[0]);
      // The one after it may be on its way, and no other.
      EXPECT_GE(model.prepared, given);
      EXPECT_LE(model.prepared, given + 1);
    }
  }
}

TEST(BatchAhead, WhatIsThrownAheadReachesTheCallerWhenItIsThatBatchsTurn) {
  Preparing model;
  const Numbers broken(2);
  BatchAhead ahead(broken, {}, model);
  EXPECT_NE(ahead.next(), nullptr);
  EXPECT_NE(ahead.next(), nullptr);
  EXPECT_THROW(ahead.next(), Error);
  model.broken = 1;
  const Numbers whole;
  BatchAhead other(whole, {}, model);
  EXPECT_NE(other.next(), nullptr);
  EXPECT_THROW(other.next(), Error);
}

TEST(BatchAhead, WaitsForItsThreadWhenItGoes) {
  const Numbers source;
  for (int i = 0; i < 20; ++i) {
    Preparing model;
    { BatchAhead ahead(source, {}, model); }
    const int prepared = model.prepared;
    std::this_thread::sleep_for(std::chrono::milliseconds(3));
    EXPECT_EQ(model.prepared, prepared);
    EXPECT_EQ(prepared, 1);
  }
}

}  // namespace
}  // namespace heddle::train
