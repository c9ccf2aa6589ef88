#include "heddle/train/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/paths.h"
#include "heddle/train/run_log.h"

namespace heddle::train {

namespace {

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t value = i;
    for (int bit = 0; bit < 8; ++bit) value = (value >> 1) ^ ((value & 1) != 0 ? 0x82F63B78u : 0u);
    table[i] = value;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = make_table();

template <typename T>
std::string bytes_of(T value) {
  std::string bytes(sizeof value, '\0');
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

// Masked, because a checksum of data that hold checksums is weak.
std::string masked_crc(std::string_view bytes) {
  const uint64_t crc = crc32c(bytes);
  const uint64_t turned = (crc >> 15) | (crc << 17);
  return bytes_of(static_cast<uint32_t>((turned + 0xA282EAD8u) & 0xFFFFFFFFu));
}

std::string varint(uint64_t value) {
  std::string bytes;
  for (; value >= 128; value >>= 7) bytes += static_cast<char>((value & 127) | 128);
  return bytes + static_cast<char>(value);
}

// Fields of a Protocol Buffers message: number and wire type, then the value.
std::string number_field(int field, double value) {
  return varint(static_cast<uint64_t>(field) << 3 | 1) + bytes_of(value);
}
std::string number_field(int field, float value) {
  return varint(static_cast<uint64_t>(field) << 3 | 5) + bytes_of(value);
}
std::string number_field(int field, int64_t value) {
  return varint(static_cast<uint64_t>(field) << 3) + varint(static_cast<uint64_t>(value));
}
std::string text_field(int field, std::string_view text) {
  return varint(static_cast<uint64_t>(field) << 3 | 2) + varint(text.size()) + std::string(text);
}

// Field numbers of tensorflow's event.proto and summary.proto.
constexpr int kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7;
constexpr int kSummaryValue = 1, kTag = 1, kSimpleValue = 2;
constexpr int kStatus = 1;
constexpr int64_t kStart = 1;

std::string event_head(int64_t step) {
  const double now =
      std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
  return number_field(kWallTime, now) + number_field(kStep, step);
}

void add_values(const io::Value& record, const std::string& prefix, std::string& summary) {
  for (const auto& [key, value] : *record.map()) {
    if (key == "step") continue;
    if (value.map() != nullptr) {
      add_values(value, prefix, summary);
      continue;
    }
    if (value.number() == nullptr && value.integer() == nullptr) continue;
    const double number =
        value.number() != nullptr ? *value.number() : static_cast<double>(*value.integer());
    const std::string_view name = std::string_view(key).starts_with("eval_")
                                      ? std::string_view(key).substr(5)
                                      : std::string_view(key);
    summary +=
        text_field(kSummaryValue, text_field(kTag, prefix + std::string(name)) +
                                      number_field(kSimpleValue, static_cast<float>(number)));
  }
}

std::string host_name() {
  char name[256] = "";
  return ::gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "localhost";
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  uint32_t crc = 0xFFFFFFFFu;
  for (const char byte : bytes) {
    crc = kTable[(crc ^ static_cast<unsigned char>(byte)) & 255] ^ (crc >> 8);
  }
  return ~crc;
}

EventFile::EventFile(const std::string& folder, int64_t step) {
  static_assert(std::endian::native == std::endian::little);
  io::make_folder(folder);
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(
      std::chrono::system_clock::now().time_since_epoch());
  path_ = io::join_path(
      folder, str("events.out.tfevents.", seconds.count(), ".", host_name(), ".", ::getpid()));
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  HEDDLE_CHECK(descriptor_ >= 0, path_,
               ": cannot be opened: ", std::generic_category().message(errno));
  write(event_head(0) + text_field(kFileVersion, "brain.Event:2"));
  if (step > 0) {
    write(event_head(step + 1) + text_field(kSessionLog, number_field(kStatus, kStart)));
  }
}

EventFile::~EventFile() { ::close(descriptor_); }

void EventFile::add(const io::Value& record) {
  const io::Value* step = record.find("step");
  const LogLine kind = kind_of(record);
  if (kind == LogLine::note) return;
  std::string summary;
  add_values(record, kind == LogLine::evaluation ? "eval/" : "train/", summary);
  if (step == nullptr || step->integer() == nullptr || summary.empty()) return;
  write(event_head(*step->integer()) + text_field(kSummary, summary));
}

void EventFile::write(std::string_view event) {
  const std::string length = bytes_of(static_cast<uint64_t>(event.size()));
  const std::string record = length + masked_crc(length) + std::string(event) + masked_crc(event);
  const char* at = record.data();
  for (size_t left = record.size(); left > 0;) {
    const ssize_t done = ::write(descriptor_, at, left);
    if (done < 0 && errno == EINTR) continue;
    HEDDLE_CHECK(done >= 0, path_, ": cannot be written: ", std::generic_category().message(errno));
    at += done;
    left -= static_cast<size_t>(done);
  }
}

}  // namespace heddle::train
