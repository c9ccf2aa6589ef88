// Distilled text (sequence-level knowledge distillation; Kim & Rush 2016, arXiv 1606.07947): the
// sources of a corpus, each once, to be translated by teachers; and of each source's translations
// the one to learn from, unless none of them is good enough.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "heddle/base/threads.h"
#include "heddle/data/pair_format.h"

namespace heddle::data {

struct SourceCounts {
  uint64_t pairs = 0;
  uint64_t kept = 0;      ///< sources written
  uint64_t repeated = 0;  ///< sources that were there before
  uint64_t held_out = 0;  ///< sources that are also in the held-out texts
};

/// Writes the corpus' sources, one a line and each once, and the first reference of each, on the
/// same line of the other file. Leaves out what is in `held_out`.
SourceCounts write_sources(const std::vector<CorpusFiles>& corpus,
                           const std::vector<CorpusFiles>& held_out, const std::string& sources,
                           const std::string& references);

/// Which of a source's translations is taken.
enum class Choice : uint8_t {
  score,  ///< the one that the teacher finds most probable
  bleu,  ///< the one nearest to the reference, by BLEU of the sentence; the more probable of equals
};

struct SelectionSettings {
  bool numbered = true;  ///< several translations of a source: number, text, score; else one line a
                         ///< source: text, or text and score
  Choice choice = Choice::score;
  double drop_worst = 0;        ///< share of the sources, those of the lowest scores
  double max_length_ratio = 0;  ///< of characters of the longer side to the shorter; 0: any
};

/// Differences in length up to so many characters are no matter of ratios.
inline constexpr int64_t kFreeLength = 12;

struct SelectionCounts {
  uint64_t sources = 0;
  uint64_t kept = 0;
  uint64_t empty = 0;       ///< nothing was said
  uint64_t bad_length = 0;  ///< beyond max_length_ratio
  uint64_t improbable = 0;  ///< of drop_worst
  double mean_score = 0;    ///< of what was taken: ln p a token
  double least_score = 0;   ///< … at least, in what was kept
  double bleu = 0;          ///< of what was taken against the references

  /// "100 sources, 95 kept, 5 left out (5 improbable)".
  std::string summary() const;
};

struct SelectionFiles {
  std::string sources, references;  ///< as write_sources wrote them
  std::string translations;         ///< as heddle translate writes them, parted by tabs
  std::string output;               ///< source, tab, translation
};

/// Takes one translation of each source and writes what is kept. Throws when the files do not
/// belong together.
SelectionCounts select_translations(const SelectionFiles& files, const SelectionSettings& settings,
                                    ThreadPool& threads);

}  // namespace heddle::data
