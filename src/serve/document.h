// The texts of a request as lines for the service, and the translations as texts again: as many
// lines out as in. Lines without anything in them are not sent at all.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "heddle/decode/translator.h"

namespace heddle::serve {

class Document {
 public:
  explicit Document(const std::vector<std::string>& texts);

  /// The lines that are to be translated; to be called once.
  std::vector<std::string> take_lines() { return std::move(lines_); }

  /// Takes the translation of one of these lines.
  void put(size_t line, decode::Translation&& translation);

  /// A line of a text, in the order of texts and lines.
  struct Place {
    size_t text, line;
    const decode::Translation* translation;  ///< null: not there yet
  };
  size_t lines() const { return places_.size(); }
  size_t lines_done() const { return done_; }
  Place place(size_t index) const;

  size_t texts() const { return first_places_.size() - 1; }

  /// The translations of one text, put together.
  struct Variant {
    std::string text;
    double score = 0;
  };
  Variant joined(size_t text, size_t rank) const;  ///< rank 0: the best
  size_t variants(size_t text) const;              ///< 0 unless they were asked for

 private:
  struct Slot {
    size_t text, line;
    bool done = false;
    decode::Translation translation;
  };
  std::vector<std::string> lines_;
  std::vector<size_t> place_of_line_;  // of those that are sent
  std::vector<Slot> places_;
  std::vector<size_t> first_places_;  // of each text, and the end
  size_t done_ = 0;
};

}  // namespace heddle::serve
