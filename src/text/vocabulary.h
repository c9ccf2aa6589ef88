// The files that number the pieces of a vocabulary: Marian's .yml ("piece: 7" a line), Hugging
// Face's vocab.json ({"piece": 7, …}), and CTranslate2's lists in the order of the ids
// (["piece", …] in .json, a piece a line in .txt).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace heddle::text {

/// The pieces by id; a `name` that ends in .txt is one of lines. Every id from 0 to the largest
/// must be given once and no piece twice; throws an Error that names the file (`name`), the place,
/// what was found and what was expected.
std::vector<std::string> parse_vocabulary(std::string_view text, std::string_view name);

}  // namespace heddle::text
