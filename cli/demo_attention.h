// The second table of `heddle demo`: exact attention under each mask, on this machine's processors.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace heddle::cli {

/// Runs `length` tokens under each family of masks and prints a line for each.
void print_attention_table(const std::vector<std::string_view>& families, int64_t length);

}  // namespace heddle::cli
