// The grammar of HTTP heads, as far as it is checked: RFC 9110, 9112 and 3986.
#pragma once

#include <string_view>

namespace heddle::serve {

bool is_letter(char c);
bool is_digit(char c);
bool equal_names(std::string_view a, std::string_view b);  ///< without regard to case
std::string_view trimmed(std::string_view text);           ///< without blanks around it

bool is_token(std::string_view text);
bool is_header_value(std::string_view text);

/// A name or address, and perhaps a port.
bool is_host(std::string_view host);

/// The characters of a path and query; no %00.
bool is_path(std::string_view target);

/// The lines of a head with NUL for CR, LF and the first colon of each, from the end of the request
/// line: name NUL value NUL NUL … NUL NUL. A bare LF, a NUL in a value or a folded line gives
/// something else.
bool are_header_lines(std::string_view lines);

}  // namespace heddle::serve
