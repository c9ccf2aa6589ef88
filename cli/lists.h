// Lists of numbers as arguments: "4,3,3" and "4:3,3 5:2,2", and such lists drawn at random.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::cli {

/// One item of a list: "5" → {5}, "3:2" → {3, 2}.
using Item = std::vector<int64_t>;

/// "4,3,3" → {4, 3, 3}. `option` names the argument in errors.
std::vector<int64_t> number_list(std::string_view option, std::string_view text);

/// "3:2,2:2" → {{3, 2}, {2, 2}}: every item has two numbers; "root" stands for −1.
std::vector<Item> pair_list(std::string_view option, std::string_view text);

/// "4:3,3 5:2" → {{4, 3, 3}, {5, 2}}: groups apart by spaces or semicolons, each a number, a colon
/// and numbers.
std::vector<Item> group_list(std::string_view option, std::string_view text);

/// `count` lengths of at least 1 that add up to `total`, every choice equally likely; the same for
/// the same seed. 1 <= count <= total.
std::vector<int64_t> random_lengths(int64_t total, int64_t count, uint64_t seed);

/// "4, 3, 3" with at most a dozen numbers, then "… (20 in all)".
std::string list_text(const std::vector<int64_t>& numbers);

}  // namespace heddle::cli
