// The model that is shipped with the program: English to German, technical documentation.
#pragma once

#include <string>

namespace heddle::cli {

inline constexpr const char* kDefaultModel = "docs-en-de";
inline constexpr const char* kDefaultDirection = "en-de";

/// Its directory: in the tree that the program was built in, or where it was installed. Throws,
/// with a hint, when it is in neither.
std::string default_model();

}  // namespace heddle::cli
