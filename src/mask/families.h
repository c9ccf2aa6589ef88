// The mask families of the FlashMask paper's kernel benchmark (arXiv 2410.01359, section 5.4), with
// its parameters: what tests and benchmarks run over. Documents fill the length: 3–7 of them up to
// 16K tokens, 10–14 up to 64K, 11–15 beyond. Windows are length / 16.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "heddle/mask/mask.h"

namespace heddle::masks {

/// full, causal, then the paper's cases.
std::span<const std::string_view> family_names();

/// A mask of the family, [length × length], the same for the same arguments. One head, except
/// random-eviction, which draws one set of bounds a key/value head.
ColumnMask family(std::string_view name, int64_t length, int64_t kv_heads, uint64_t seed);

}  // namespace heddle::masks
