// Models that llama.cpp has split into several GGUF files.
#include <algorithm>
#include <optional>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/gguf.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"

namespace heddle::io {

namespace {

constexpr std::string_view kNumber = "split.no";
constexpr std::string_view kCount = "split.count";
constexpr std::string_view kTensors = "split.tensors.count";
constexpr std::string_view kPattern = "-00001-of-00001.gguf";
constexpr int64_t kMostParts = 512;  // each is an open file

std::string five_digits(int64_t number) {
  const std::string digits = str(number);
  return std::string(5 - std::min<size_t>(5, digits.size()), '0') + digits;
}

/// "-00002-of-00004.gguf" of part 1.
std::string ending_of(int64_t part, int64_t count) {
  return str("-", five_digits(part + 1), "-of-", five_digits(count), ".gguf");
}

/// Parts of the model that the file belongs to; 1 where it stands alone. Files that were merged
/// again say 0.
int64_t parts_of(const GgufFile& file) {
  if (file.find_key(kCount) == nullptr) return 1;
  return std::max<int64_t>(1, file.integer(kCount, 0, kMostParts));
}

void check_part(const GgufFile& file, int64_t part, int64_t count) {
  const auto expect = [&](std::string_view key, int64_t value) {
    if (file.integer(key, INT64_MIN, INT64_MAX) == value) return;
    file.fail(*file.find_key(key), str(value, " in part ", part + 1, " of ", count));
  };
  expect(kCount, count);
  expect(kNumber, part);
}

void check_names(const std::vector<GgufFile>& files, const std::string& path) {
  std::vector<std::string_view> names;
  for (const GgufFile& file : files) {
    for (const GgufTensor& tensor : file.tensors()) names.push_back(tensor.name);
  }
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  HEDDLE_CHECK(twice == names.end(), "gguf: ", path, ": found the tensor ", quoted(*twice),
               " in two parts; expected it in one");
  const auto total = static_cast<int64_t>(names.size());
  for (const GgufFile& file : files) {
    if (file.integer(kTensors, INT64_MIN, INT64_MAX) == total) continue;
    file.fail(*file.find_key(kTensors), str(total, ", as all parts have together"));
  }
}

}  // namespace

GgufModel::GgufModel(const std::string& path) {
  files_.emplace_back(Source(path));
  const int64_t count = parts_of(files_.front());
  if (count == 1) return;
  const GgufFile& opened = files_.front();
  const int64_t number = opened.integer(kNumber, 0, count - 1);
  const std::string ending = ending_of(number, count);
  HEDDLE_CHECK(path.ends_with(ending), "gguf: ", path, ": found part ", number + 1, " of ", count,
               "; expected a file name that ends in ", ending);
  const std::string stem = path.substr(0, path.size() - kPattern.size());
  files_.clear();
  for (int64_t part = 0; part < count; ++part) {
    const std::string name = stem + ending_of(part, count);
    HEDDLE_CHECK(exists(name), "gguf: ", path, ": found no part ", part + 1, " of ", count,
                 "; expected ", quoted(name),
                 " beside it. Hint: the download may have stopped early");
    files_.emplace_back(Source(name));
    check_part(files_.back(), part, count);
  }
  check_names(files_, path);
}

}  // namespace heddle::io
