// A line on its way through a translator: normalised, cut into segments the model can take,
// tokenised, and joined again with the spacing it had.
//
//   Segmenter segmenter(source, {.longest = 500});      one for each thread
//   PreparedLine prepared = segmenter.prepare(line);
//   … translate prepared.segments[i].tokens, decode to translations[i] …
//   std::string out = join(prepared, translations);     always one line
//
// A segment that is too long is cut at a sentence end, else behind punctuation, else at a space or
// between ideographs, else between characters, and in this order only where it is not too early.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "heddle/text/normalize.h"
#include "heddle/text/sentences.h"
#include "heddle/text/tokenizer.h"

namespace heddle::text {

struct SegmentOptions {
  size_t longest = 512;          // tokens of a segment; what cannot be cut further loses the rest
  bool split_sentences = false;  // one segment a sentence, not only where a line is too long
  bool copy_symbols = true;      // a line without letters and digits is its own translation
  std::string language = "";     // of the source, for sentence ends: "en"
};

struct PreparedLine {
  struct Segment {
    std::string before;      // what stands between the segment before and this one: spaces
    bool may_touch = false;  // `before` is empty, but the cut was not inside a word
    std::vector<int32_t> tokens;
  };
  std::vector<Segment> segments;
  std::string after;  // the spaces at the end; the whole line when there is nothing to translate
};

/// The translations of the segments as one line. Spaces are kept; between languages that write
/// spaces and those that do not, they are added or left out.
std::string join(const PreparedLine& line, std::span<const std::string> translations);

class Segmenter {
 public:
  /// The tokenizer must outlive the segmenter.
  explicit Segmenter(const Tokenizer& tokenizer, SegmentOptions options = {});

  PreparedLine prepare(std::string_view line);

  /// What prepare() found wrong with the lines so far.
  const LineFaults& faults() const { return faults_; }

 private:
  bool add_whole(std::string_view text, std::string& before, PreparedLine& line);
  void add_sentences(std::string_view text, std::string before, PreparedLine& line);
  void add_parts(std::string_view text, std::string before, PreparedLine& line);
  std::string_view take_part(std::string_view text, size_t guess);

  const Tokenizer* tokenizer_;
  SegmentOptions options_;
  SentenceSplitter splitter_;
  LineFaults faults_;
  std::string storage_;
  std::vector<Span> sentences_;
  std::vector<int32_t> scratch_;
};

/// Where to cut a text so that the first part has at most `most` bytes: the best place in its
/// second half, or behind the first character if nothing shorter will do. Needs 0 < most <
/// text.size().
size_t find_cut(std::string_view text, size_t most);

}  // namespace heddle::text
