// application/x-www-form-urlencoded.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "heddle/serve/refused.h"

namespace heddle::serve {

/// Names and values in their order; throws Refused (400) at a broken escape, at what is not UTF-8
/// and at more fields than `most`.
std::vector<std::pair<std::string, std::string>> parse_form(std::string_view body, size_t most);

}  // namespace heddle::serve
