// The parts of tokenizer_json.cpp.
#pragma once

#include <initializer_list>
#include <string_view>
#include <vector>

#include "heddle/io/value.h"
#include "heddle/text/tokenizer_json.h"

namespace heddle::text {

/// Throws unless the object has these members at most, and the type that it says.
void check_members(const io::Field& object, std::initializer_list<std::string_view> known);

/// Throws "found …; expected one of …" about the type of a part.
[[noreturn]] void refuse_type(const io::Field& part, std::string_view expected);

/// The parts inside a Sequence and the Sequences inside it, or the part itself, in their order.
/// `list` is the member that holds them.
std::vector<io::Field> flatten(const io::Field& part, std::string_view list);

BpeNormalizer read_normalizer(const io::Field& part);
BpeSplitter read_splitter(const io::Field& part);
BpeDecoder read_decoder(const io::Field& part);
void read_post_processor(const io::Field& part, TokenizerJson& file);
BpeVocabulary read_model(const io::Field& part, size_t added_tokens);

}  // namespace heddle::text
