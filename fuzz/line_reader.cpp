// Fuzz target: reading lines, normalising, cutting and writing them. However the input arrives, the
// lines are the same, there is one for each line feed, and each comes out as one line of UTF-8.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/base/error.h"
#include "heddle/text/line_reader.h"
#include "heddle/text/line_writer.h"
#include "heddle/text/normalize.h"
#include "heddle/text/sentences.h"
#include "heddle/text/utf8.h"

namespace {

using heddle::text::LineReader;
using heddle::text::Span;

void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "line_reader: %s\n", what);
  std::abort();
}

std::vector<std::string> lines_of(std::string_view bytes, size_t step) {
  const auto read = [&, at = size_t{0}](char* target, size_t room) mutable {
    const size_t count = std::min({bytes.size() - at, room, step});
    bytes.copy(target, count, at);
    at += count;
    return count;
  };
  LineReader reader(read, "input", 64);
  std::vector<std::string> lines;
  for (std::string line; reader.next(line);) {
    require(line.size() <= 64, "a line longer than the limit");
    require(!reader.skipped() || line.empty(), "a skipped line that is not empty");
    lines.push_back(line);
  }
  return lines;
}

size_t count_lines(std::string_view bytes) {
  if (bytes.starts_with("\xEF\xBB\xBF")) bytes.remove_prefix(3);
  const auto feeds = static_cast<size_t>(std::count(bytes.begin(), bytes.end(), '\n'));
  return feeds + (!bytes.empty() && bytes.back() != '\n');
}

void check_line(const std::string& line, heddle::text::SentenceSplitter& splitter) {
  std::string storage;
  heddle::text::LineFaults faults;
  const std::string text(heddle::text::normalize_line(line, storage, faults));
  require(heddle::text::is_valid_utf8(text), "a normalised line that is not UTF-8");
  std::string again;
  require(heddle::text::normalize_line(text, again, faults) == text,
          "normalised twice is different");
  std::vector<Span> sentences;
  splitter.split(text, sentences);
  size_t at = 0;
  for (const Span span : sentences) {
    require(span.begin >= at && span.end > span.begin && span.end <= text.size(), "a wrong span");
    at = span.end;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static heddle::text::SentenceSplitter splitter("en");
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> lines;
  try {
    lines = lines_of(bytes, ~size_t{0});
  } catch (const heddle::Error&) {
    return 0;  // UTF-16
  }
  require(lines.size() == count_lines(bytes), "lines lost or added");
  require(lines == lines_of(bytes, 1) && lines == lines_of(bytes, 7), "other lines in small reads");
  std::string written;
  heddle::text::LineWriter writer([&](std::string_view block) { written += block; });
  for (const std::string& line : lines) {
    check_line(line, splitter);
    writer.write(line);
  }
  writer.flush();
  require(count_lines(written) == lines.size() || written.starts_with("\xEF\xBB\xBF"),
          "lines lost or added in writing");
  return 0;
}
