// Why a request is not answered as it wished.
#pragma once

#include <exception>
#include <string>
#include <utility>

namespace heddle::serve {

/// `message` says what was found and expected, and never repeats text of the request.
struct Refusal {
  int status = 400;
  std::string code;  ///< for programs: "queue_full"; one of a fixed set
  std::string message;
  bool closes = false;  ///< the framing of what follows cannot be trusted
};

class Refused : public std::exception {
 public:
  explicit Refused(Refusal refusal) : refusal_(std::move(refusal)) {}
  const Refusal& refusal() const { return refusal_; }
  const char* what() const noexcept override { return refusal_.message.c_str(); }

 private:
  Refusal refusal_;
};

[[noreturn]] inline void refuse(int status, std::string code, std::string message) {
  throw Refused({status, std::move(code), std::move(message)});
}

}  // namespace heddle::serve
