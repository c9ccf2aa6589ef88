// Regular expressions of Oniguruma with Ruby's syntax, as ICU reads them.
#pragma once

#include <string>
#include <string_view>

namespace heddle::text {

/// The expression for ICU (with UREGEX_MULTILINE and UREGEX_UNIX_LINES). Throws an Error that names
/// the place and the construct when the two might read it in different ways.
std::string regex_for_icu(std::string_view expression, std::string_view place);

}  // namespace heddle::text
