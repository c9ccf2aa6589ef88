// The decoder of a tokenizer.json: pieces to text, one after another, so that a text can be shown
// while it is made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace heddle::text {

struct DecodeStep {
  enum class Kind {
    byte_level,     // characters to bytes, those to UTF-8; joins all pieces to one
    byte_fallback,  // <0x41> to bytes; a run that is not UTF-8 is one U+FFFD a byte
    replace,        // each `content` becomes `other`
    metaspace,      // each `content` becomes a space, those of the first piece nothing if `strips`
    fuse,           // joins all pieces to one
    strip,          // takes up to `start` times `content` off the front, up to `stop` off the end
    space_between,  // where a file has no decoder
  };
  Kind kind = Kind::fuse;
  std::string content, other;
  bool strips = false;
  size_t start = 0, stop = 0;
};

/// Where one step is in its text.
struct DecodeProgress {
  std::string bytes;    // that wait for more
  size_t stripped = 0;  // of `start`
  bool has_begun = false;
  bool strip_ended = false;
};

/// Immutable once filled: any number of threads may use it.
class BpeDecoder {
 public:
  std::vector<DecodeStep> steps;

  using Progress = std::vector<DecodeProgress>;  // one a step
  Progress begin() const { return Progress(steps.size()); }

  /// Takes a piece and adds what is certain by now to `text`, whole characters alone.
  void feed(std::string_view piece, Progress& progress, std::string& text) const {
    feed(0, piece, progress, text);
  }

  /// The same of what the piece stands for, where the first step is of byte_level.
  void feed_bytes(std::string_view bytes, Progress& progress, std::string& text) const;

  /// Adds what waited for more. Then the decoder is at its beginning again.
  void finish(Progress& progress, std::string& text) const;

 private:
  void feed(size_t step, std::string_view piece, Progress& progress, std::string& text) const;
  void end_run(size_t step, Progress& progress, std::string& text) const;
  void take_bytes(size_t step, std::string_view bytes, Progress& progress, std::string& text) const;
};

}  // namespace heddle::text
