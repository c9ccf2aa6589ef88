#include "cli/lists.h"

#include <algorithm>
#include <charconv>
#include <unordered_set>

#include "cli/format.h"
#include "heddle/base/error.h"
#include "heddle/base/random.h"

namespace heddle::cli {

namespace {

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = text.find_first_of(separators);
    parts.push_back(text.substr(0, end));
    if (end == text.npos) return parts;
    text.remove_prefix(end + 1);
  }
}

int64_t number(std::string_view option, std::string_view text, std::string_view example) {
  if (text == "root") return -1;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  HEDDLE_CHECK(error == std::errc{} && end == text.data() + text.size(), option, ": found '",
               text.substr(0, 40), "'; expected a whole number, in a list such as ", example);
  return value;
}

}  // namespace

std::vector<int64_t> number_list(std::string_view option, std::string_view text) {
  std::vector<int64_t> numbers;
  for (const std::string_view part : split(text, ",")) {
    numbers.push_back(number(option, part, "4,3,3"));
  }
  return numbers;
}

std::vector<Item> pair_list(std::string_view option, std::string_view text) {
  std::vector<Item> items;
  for (const std::string_view part : split(text, ",")) {
    Item item;
    for (const std::string_view half : split(part, ":")) {
      item.push_back(number(option, half, "3:2,2:2"));
    }
    HEDDLE_CHECK(item.size() == 2, option, ": found '", part.substr(0, 40),
                 "'; expected two numbers, as 3:2");
    items.push_back(item);
  }
  return items;
}

std::vector<Item> group_list(std::string_view option, std::string_view text) {
  std::vector<Item> items;
  for (const std::string_view group : split(text, " ;")) {
    if (group.empty()) continue;
    const size_t colon = group.find(':');
    HEDDLE_CHECK(colon != group.npos, option, ": found '", group.substr(0, 40),
                 "'; expected a number, a colon and numbers, as 4:3,3");
    Item item{number(option, group.substr(0, colon), "4:3,3")};
    for (const std::string_view part : split(group.substr(colon + 1), ",")) {
      item.push_back(number(option, part, "4:3,3"));
    }
    items.push_back(item);
  }
  return items;
}

std::vector<int64_t> random_lengths(int64_t total, int64_t count, uint64_t seed) {
  HEDDLE_CHECK(count >= 1 && count <= total, "--count: found ", count, " parts; expected 1 … ",
               total, ", as each has a token at least");
  // Floyd's choice of count − 1 different cuts between the tokens.
  Random random(seed);
  std::unordered_set<int64_t> chosen;
  std::vector<int64_t> cuts;
  for (int64_t last = total - count + 1; last < total; ++last) {
    const int64_t cut = random.between(1, last);
    cuts.push_back(chosen.insert(cut).second ? cut : last);
    chosen.insert(cuts.back());
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.push_back(total);
  std::vector<int64_t> lengths;
  int64_t begin = 0;
  for (const int64_t cut : cuts) {
    lengths.push_back(cut - begin);
    begin = cut;
  }
  return lengths;
}

std::string list_text(const std::vector<int64_t>& numbers) {
  constexpr size_t kShown = 12;
  std::string text;
  for (size_t i = 0; i < std::min(numbers.size(), kShown); ++i) {
    text += str(i > 0 ? " " : "", with_separators(numbers[i]));
  }
  return numbers.size() > kShown
             ? text + " … (" + with_separators(static_cast<int64_t>(numbers.size())) + " in all)"
             : text;
}

}  // namespace heddle::cli
