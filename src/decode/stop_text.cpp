#include "heddle/decode/stop_text.h"

#include <algorithm>
#include <utility>

namespace heddle::decode {

StopText::StopText(std::vector<std::string> stops) : stops_(std::move(stops)) {
  std::erase_if(stops_, [](const std::string& stop) { return stop.empty(); });
}

std::string StopText::push(std::string_view text) {
  if (found_) return {};
  held_ += text;
  size_t end = held_.size();
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    found_ = found_ || at != std::string::npos;
    end = std::min(end, at);
  }
  if (found_) {
    std::string shown = held_.substr(0, end);
    held_.clear();
    return shown;
  }
  size_t kept = 0;  // bytes at the end that may begin a stop string
  for (const std::string& stop : stops_) {
    for (size_t n = std::min(stop.size() - 1, held_.size()); n > kept; --n) {
      if (held_.ends_with(std::string_view(stop).substr(0, n))) kept = n;
    }
  }
  std::string shown = held_.substr(0, held_.size() - kept);
  held_.erase(0, shown.size());
  return shown;
}

std::string StopText::finish() { return std::exchange(held_, {}); }

}  // namespace heddle::decode
