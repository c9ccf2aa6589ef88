#include "heddle/data/corpus.h"

#include <utility>

#include "heddle/base/error.h"

namespace heddle::data {

namespace {

bool is_blank(std::string_view text) {
  return text.find_first_not_of(" \t\r") == std::string_view::npos;
}

}  // namespace

std::vector<std::string> CorpusCounts::warnings() const {
  std::vector<std::string> found;
  if (identical * 2 > kept) {
    found.push_back(str(identical, " of ", kept,
                        " pairs have the same text on both sides: is a file given twice?"));
  }
  if (suspicious * 20 > blocks && suspicious > 0) {
    found.push_back(str("lengths of sources and targets do not go together in ", suspicious, " of ",
                        blocks, " blocks of ", MisalignmentAlarm::kBlock, " pairs, first at line ",
                        suspicious_line, ": have the lines slipped?"));
  }
  if (kept * 2 < lines) found.push_back("more is left out than kept: " + summary());
  return found;
}

std::string CorpusCounts::summary() const {
  std::string text = str(lines, " lines, ", kept, " kept");
  const auto add = [&text](uint64_t count, std::string_view what) {
    if (count > 0) text += str(", ", count, " ", what);
  };
  add(empty_both + empty_source + empty_target, "left out as empty");
  add(too_long_lines, "left out as too many bytes");
  add(too_many_tokens, "left out as too many tokens");
  add(identical, "with both sides the same");
  add(faults.not_utf8, "faults of UTF-8 replaced");
  add(faults.controls, "control characters replaced");
  return text;
}

CorpusReader::CorpusReader(const CorpusFiles& files, size_t longest_line, text::ReadBytes first,
                           text::ReadBytes second)
    : pairs_(read_pairs(files, longest_line, std::move(first), std::move(second))) {}

bool CorpusReader::next(Pair& pair) {
  RawPair raw;
  while (pairs_->next(raw)) {
    ++counts_.lines;
    if (raw.too_long) {
      ++counts_.too_long_lines;
      continue;
    }
    pair = {text::normalize_line(raw.source, source_, counts_.faults),
            text::normalize_line(raw.target, target_, counts_.faults), raw.weight, raw.line};
    const bool no_source = is_blank(pair.source), no_target = is_blank(pair.target);
    if (no_source || no_target) {
      ++(no_source && no_target ? counts_.empty_both
         : no_source            ? counts_.empty_source
                                : counts_.empty_target);
      continue;
    }
    if (pair.source == pair.target) ++counts_.identical;
    ++counts_.kept;
    alarm_.add(pair.line, pair.source.size(), pair.target.size());
    counts_.blocks = alarm_.blocks();
    counts_.suspicious = alarm_.suspicious();
    counts_.suspicious_line = alarm_.first_line();
    return true;
  }
  return false;
}

std::vector<std::string> paths_of(const CorpusFiles& files) {
  const bool two = files.pairs.empty();
  HEDDLE_CHECK(two ? !files.source.empty() && !files.target.empty()
                   : files.source.empty() && files.target.empty(),
               "data: expected one file of pairs, or one of sources and one of targets");
  return two ? std::vector{files.source, files.target} : std::vector{files.pairs};
}

CorpusReader open_corpus(const CorpusFiles& files, size_t longest_line,
                         const std::vector<FileState>& states) {
  const std::vector<std::string> paths = paths_of(files);
  HEDDLE_CHECK(states.size() == paths.size(), "data: found ", states.size(), " states of ",
               paths.size(), " files");
  return CorpusReader(files, longest_line, open_text(paths[0], states[0]),
                      paths.size() > 1 ? open_text(paths[1], states[1]) : text::ReadBytes());
}

}  // namespace heddle::data
