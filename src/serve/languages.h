// Languages by their codes.
#pragma once

#include <string>
#include <string_view>

namespace heddle::serve {

struct Direction {
  std::string source, target;  ///< empty: not known
};

/// "en-pt" and "en-pt-BR" name a source and a target; other names do not.
Direction direction_of(std::string_view model);

/// "English" for "en"; the code itself when there is no name here.
std::string_view language_name(std::string_view code);

}  // namespace heddle::serve
