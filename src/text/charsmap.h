// The normalisation table inside a SentencePiece model ("precompiled_charsmap"):
//
//   u32 size of the trie | trie: units of 4 bytes (Darts-clone double array) | texts ending in NUL
//
// SentencePiece follows the trie without looking at its bounds, so that all a walk can reach is
// checked here first.
#pragma once

#include <cstddef>
#include <string_view>

namespace heddle::text {

/// Throws an Error when a walk along the trie could leave it, never end, find more rules on one
/// path than SentencePiece has room for, or lead to a text that is not there. `table` is not empty;
/// `offset` is its place in the file `name`.
void check_charsmap(std::string_view table, std::string_view name, size_t offset);

}  // namespace heddle::text
