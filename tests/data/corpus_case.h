// Small corpora for tests: texts as files would hold them, read to the end.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "heddle/data/corpus.h"

namespace heddle::testing {

/// Gives the text in pieces of `piece` bytes.
inline text::ReadBytes bytes_of_text(std::string content, size_t piece = SIZE_MAX) {
  auto rest = std::make_shared<std::pair<std::string, size_t>>(std::move(content), 0);
  return [rest, piece](char* target, size_t bytes) {
    const size_t count = std::min({bytes, piece, rest->first.size() - rest->second});
    std::memcpy(target, rest->first.data() + rest->second, count);
    rest->second += count;
    return count;
  };
}

struct ReadCorpus {
  std::vector<std::pair<std::string, std::string>> pairs;
  std::vector<float> weights;
  data::CorpusCounts counts;
};

inline ReadCorpus read_all(data::CorpusReader reader) {
  ReadCorpus found;
  data::Pair pair;
  while (reader.next(pair)) {
    found.pairs.emplace_back(pair.source, pair.target);
    found.weights.push_back(pair.weight);
  }
  found.counts = reader.counts();
  return found;
}

inline data::CorpusFiles two_files() {
  data::CorpusFiles files;
  files.source = "a.en";
  files.target = "a.de";
  return files;
}

inline data::CorpusFiles one_file(const std::string& name) {
  data::CorpusFiles files;
  files.pairs = name;
  return files;
}

inline constexpr size_t kLongestTestLine = size_t{1} << 20;

inline ReadCorpus read_two(const std::string& source, const std::string& target,
                           size_t longest = kLongestTestLine) {
  return read_all(
      data::CorpusReader(two_files(), longest, bytes_of_text(source), bytes_of_text(target)));
}

inline ReadCorpus read_one(const std::string& content, const std::string& name = "a.tsv") {
  return read_all(data::CorpusReader(one_file(name), kLongestTestLine, bytes_of_text(content)));
}

}  // namespace heddle::testing
