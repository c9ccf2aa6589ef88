// Ends a text at the first of some stop strings, wherever tokens have cut them: what may be the
// beginning of one is held back until that is known.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace heddle::decode {

class StopText {
 public:
  /// Texts that are empty are left out.
  explicit StopText(std::vector<std::string> stops = {});

  /// Takes more text; gives what is certain to stand before any stop string.
  std::string push(std::string_view text);

  /// What was held back, at the end.
  std::string finish();

  bool found() const { return found_; }  ///< a stop string has come; nothing follows

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool found_ = false;
};

}  // namespace heddle::decode
