// The files that number the pieces of a vocabulary: Marian's .yml ("piece: 7" a line) and Hugging
// Face's vocab.json ({"piece": 7, …}).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace heddle::text {

/// The pieces by id. Every id from 0 to the largest must be given once and no piece twice; throws
/// an Error that names the file (`name`), the place, what was found and what was expected.
std::vector<std::string> parse_vocabulary(std::string_view text, std::string_view name);

}  // namespace heddle::text
