// Foreign text in error messages: short, on one line, printable.
#pragma once

#include <string>
#include <string_view>

namespace heddle::io {

/// 'text' with bytes that are not printable ASCII as \x1b, cut after 96 bytes.
std::string quoted(std::string_view text);

}  // namespace heddle::io
