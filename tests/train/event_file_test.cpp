#include "heddle/train/event_file.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <map>

#include "tests/io/files.h"

namespace heddle::train {
namespace {

using namespace heddle::testing;

/// What TensorBoard would see: read back by the definition of TFRecord and Protocol Buffers.
struct Event {
  double wall_time = 0;
  int64_t step = 0;
  std::string version;
  bool starts = false;
  std::map<std::string, float> values;
};

uint64_t varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(bytes.at(0));
    bytes.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 127) << shift;
    if (byte < 128) return value;
  }
}

template <typename T>
T fixed(std::string_view& bytes) {
  T value;
  std::memcpy(&value, bytes.substr(0, sizeof value).data(), sizeof value);
  bytes.remove_prefix(sizeof value);
  return value;
}

std::string_view text(std::string_view& bytes) {
  const size_t size = varint(bytes);
  const std::string_view found = bytes.substr(0, size);
  EXPECT_EQ(found.size(), size);
  bytes.remove_prefix(size);
  return found;
}

void read_value(std::string_view bytes, Event& event) {
  std::string tag;
  float value = 0;
  while (!bytes.empty()) {
    const uint64_t key = varint(bytes);
    if (key == (1 << 3 | 2))
      tag = text(bytes);
    else if (key == (2 << 3 | 5))
      value = fixed<float>(bytes);
    else
      FAIL() << "field " << key;
  }
  event.values[tag] = value;
}

Event read_event(std::string_view bytes) {
  Event event;
  while (!bytes.empty()) {
    switch (const uint64_t key = varint(bytes); key) {
      case 1 << 3 | 1:
        event.wall_time = fixed<double>(bytes);
        break;
      case 2 << 3:
        event.step = static_cast<int64_t>(varint(bytes));
        break;
      case 3 << 3 | 2:
        event.version = text(bytes);
        break;
      case 5 << 3 | 2: {
        std::string_view summary = text(bytes);
        while (!summary.empty()) {
          EXPECT_EQ(varint(summary), uint64_t{1 << 3 | 2});
          read_value(text(summary), event);
        }
        break;
      }
      case 7 << 3 | 2:
        event.starts = text(bytes) == std::string_view("\x08\x01", 2);
        break;
      default:
        ADD_FAILURE() << "field " << key;
        return event;
    }
  }
  return event;
}

uint32_t masked(std::string_view bytes) {
  const uint64_t crc = crc32c(bytes);
  return static_cast<uint32_t>(((crc >> 15) | (crc << 17 & 0xFFFFFFFFu)) + 0xA282EAD8u);
}

std::vector<Event> read_events(std::string_view bytes) {
  std::vector<Event> events;
  while (!bytes.empty()) {
    const std::string_view head = bytes.substr(0, 8);
    const auto size = fixed<uint64_t>(bytes);
    EXPECT_EQ(fixed<uint32_t>(bytes), masked(head));
    const std::string_view record = bytes.substr(0, size);
    bytes.remove_prefix(size);
    EXPECT_EQ(fixed<uint32_t>(bytes), masked(record));
    events.push_back(read_event(record));
  }
  return events;
}

class EventFileTest : public FolderTest {
 protected:
  std::vector<Event> events() {
    namespace fs = std::filesystem;
    std::vector<Event> found;
    for (const auto& entry : fs::directory_iterator(path("runs"))) {
      EXPECT_EQ(entry.path().filename().string().rfind("events.out.tfevents.", 0), 0u);
      found = read_events(read("runs/" + entry.path().filename().string()));
    }
    return found;
  }
};

TEST(Crc32c, IsCastagnolis) {  // RFC 3720, B.4
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
}

TEST_F(EventFileTest, HoldsTheNumbersOfTheLog) {
  {
    EventFile file(path("runs"), 0);
    io::Value report;
    report.set("step", 300);
    report.set("loss", 2.5);
    report.set("num_tokens", 1000);
    report.set("note", "no number");
    file.add(report);
    io::Value evaluation;
    evaluation.set("step", 301);
    evaluation.set("event", "evaluation");
    evaluation.set("eval_loss", 1.25);
    io::Value metrics;
    metrics.set("eval_bleu", 30);
    evaluation.set("metrics", metrics);
    file.add(evaluation);
    io::Value spike;
    spike.set("step", 302);
    spike.set("event", "spike");
    spike.set("loss", 9.5);
    file.add(spike);
  }
  const std::vector<Event> found = events();
  ASSERT_EQ(found.size(), 3u);  // the loss of one batch is no point of the curve
  EXPECT_EQ(found[0].version, "brain.Event:2");
  EXPECT_GT(found[0].wall_time, 1.7e9);
  EXPECT_EQ(found[1].step, 300);
  EXPECT_EQ(found[1].values,
            (std::map<std::string, float>{{"train/loss", 2.5f}, {"train/num_tokens", 1000.0f}}));
  EXPECT_EQ(found[2].step, 301);
  EXPECT_EQ(found[2].values,
            (std::map<std::string, float>{{"eval/loss", 1.25f}, {"eval/bleu", 30.0f}}));
}

TEST_F(EventFileTest, ARunThatGoesOnTakesBackLaterSteps) {
  { EventFile file(path("runs"), 400); }
  const std::vector<Event> found = events();
  ASSERT_EQ(found.size(), 2u);
  EXPECT_TRUE(found[1].starts);
  EXPECT_EQ(found[1].step, 401);
}

}  // namespace
}  // namespace heddle::train
