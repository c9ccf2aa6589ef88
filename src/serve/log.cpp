#include "heddle/serve/log.h"

#include <cmath>
#include <ctime>

#include "heddle/base/error.h"
#include "heddle/io/json.h"

namespace heddle::serve {

namespace {

constexpr size_t kLongest = 200;

std::string time_text() {
  std::timespec now{};
  std::timespec_get(&now, TIME_UTC);
  std::tm parts{};
  ::gmtime_r(&now.tv_sec, &parts);
  char text[40];
  const size_t length = std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
  const std::string milliseconds = str(1000 + now.tv_nsec / 1'000'000).substr(1);
  return std::string(text, length) + "." + milliseconds + "Z";
}

}  // namespace

double milliseconds(double seconds) { return std::round(seconds * 1e5) / 100; }

std::string escaped(std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string plain;
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f && c != '\\' && c != '"') {
      plain += c;
    } else {
      plain += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return text.size() > kLongest ? plain + "…" : plain;
}

Log::Log(std::function<void(std::string_view)> write, bool json)
    : write_(std::move(write)), json_(json) {}

void Log::request(const LogEntry& entry) const {
  if (!write_) return;
  if (!json_) {
    write_(str(time_text(), " ", entry.client, " ", escaped(entry.method), " ", escaped(entry.path),
               " ", entry.status, " ", milliseconds(entry.seconds), "ms ", entry.bytes, "B ",
               entry.id));
    return;
  }
  io::Value::Map map;
  map.push_back({"time", time_text()});
  map.push_back({"client", std::string(entry.client)});
  map.push_back({"method", escaped(entry.method)});
  map.push_back({"path", escaped(entry.path)});
  map.push_back({"status", int64_t{entry.status}});
  map.push_back({"milliseconds", milliseconds(entry.seconds)});
  map.push_back({"bytes", static_cast<int64_t>(entry.bytes)});
  map.push_back({"id", std::string(entry.id)});
  write_(io::to_json(map));
}

void Log::message(std::string_view text) const {
  if (!write_) return;
  std::string plain(text);
  for (char& c : plain) {
    if (static_cast<unsigned char>(c) < 0x20 || c == '\x7f') c = ' ';
  }
  if (!json_) {
    write_(str(time_text(), " ", plain));
    return;
  }
  io::Value::Map map;
  map.push_back({"time", time_text()});
  map.push_back({"message", plain});
  write_(io::to_json(map));
}

}  // namespace heddle::serve
