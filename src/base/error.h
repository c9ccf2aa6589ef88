// Errors: one exception type and one check, whose text says what was found and what was expected.
//
//   HEDDLE_CHECK(q.rank() == 3, "attention: q has rank ", q.rank(), "; expected [T, H, E]");
//
// The library throws and never prints, exits or aborts; cli/ and serve/ turn an Error into an exit
// code or an HTTP status.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace heddle {

/// What the library throws for every input it refuses.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

namespace detail {

void append(std::string& text, std::string_view part);
void append(std::string& text, char part);
void append(std::string& text, bool part);
void append(std::string& text, double part);
void append(std::string& text, int64_t part);
void append(std::string& text, uint64_t part);
inline void append(std::string& text, const char* part) { append(text, std::string_view(part)); }
inline void append(std::string& text, const std::string& part) {
  append(text, std::string_view(part));
}
inline void append(std::string& text, float part) { append(text, static_cast<double>(part)); }
inline void append(std::string& text, int part) { append(text, static_cast<int64_t>(part)); }
inline void append(std::string& text, unsigned part) { append(text, static_cast<uint64_t>(part)); }
inline void append(std::string& text, long long part) { append(text, static_cast<int64_t>(part)); }
inline void append(std::string& text, unsigned long long part) {
  append(text, static_cast<uint64_t>(part));
}

[[noreturn]] void throw_error(const std::string& text);

}  // namespace detail

/// Joins the parts into one text: numbers in decimal, bools as true/false.
template <typename... Parts>
std::string str(const Parts&... parts) {
  std::string text;
  (detail::append(text, parts), ...);
  return text;
}

}  // namespace heddle

/// Throws heddle::Error with the joined parts when the condition is false.
#define HEDDLE_CHECK(condition, ...)                             \
  do {                                                           \
    if (!(condition)) [[unlikely]]                               \
      ::heddle::detail::throw_error(::heddle::str(__VA_ARGS__)); \
  } while (false)
