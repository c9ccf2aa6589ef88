// How byte-level vocabularies write bytes: each of the 256 as one printable character, so that a
// piece is always text. Printable Latin-1 stands for itself, the others are U+0100 and up in their
// order: the space is "Ġ", the newline "Ċ".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace heddle::text {

char32_t char_of_byte(uint8_t byte);

/// The byte that a character stands for; -1 for all but 256 characters.
int byte_of_char(char32_t value);

/// Adds the bytes as characters.
void append_byte_chars(std::string& text, std::string_view bytes);

/// Adds the bytes that a piece stands for; false, and nothing added, when one of its characters
/// stands for none.
bool append_bytes_of(std::string& bytes, std::string_view piece);

}  // namespace heddle::text
