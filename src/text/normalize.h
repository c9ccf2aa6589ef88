// What every line goes through before it is tokenised, the same for translation, training and
// serving:
//
//   not UTF-8                         → U+FFFD for each fault, counted
//   control characters but tab, U+0085, U+2028, U+2029 → a space (NUL, CR, VT, FF and ESC are among
//   them) U+FEFF (byte order mark)          → nothing
//
// Everything else stays: Unicode normal forms are the business of the model's own table.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace heddle::text {

/// What was changed, summed over lines.
struct LineFaults {
  uint64_t not_utf8 = 0;  // faults, not lines
  uint64_t controls = 0;
};

/// The line as the tokeniser may see it: the line itself when nothing is to be changed, else a view
/// of `storage`. The result is UTF-8 and holds no character at which anybody would split a line.
std::string_view normalize_line(std::string_view line, std::string& storage, LineFaults& faults);

}  // namespace heddle::text
