// One line a request, and what else there is to tell. Everything from outside is escaped.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace heddle::serve {

struct LogEntry {
  std::string_view client, method, path, id;
  int status = 0;
  double seconds = 0;
  uint64_t bytes = 0;  ///< of the body that came
};

class Log {
 public:
  /// `write` takes lines without their end, from any thread; null: nobody does.
  Log(std::function<void(std::string_view)> write, bool json);

  void request(const LogEntry& entry) const;
  void message(std::string_view text) const;

 private:
  std::function<void(std::string_view)> write_;
  bool json_;
};

/// To a hundredth.
double milliseconds(double seconds);

/// The text with everything but printable ASCII as \xNN, cut to a readable length.
std::string escaped(std::string_view text);

}  // namespace heddle::serve
