#include "heddle/data/selection.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <optional>
#include <unordered_set>

#include "heddle/base/error.h"
#include "heddle/data/corpus.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/hash64.h"
#include "heddle/text/line_reader.h"
#include "heddle/text/score/metric.h"
#include "heddle/text/utf8.h"

namespace heddle::data {

namespace {

constexpr size_t kGroups = 4096;  // sources that threads share out at a time
constexpr int64_t kGroupsOfShare = 64;

/// Calls each(pair) for all pairs of the files.
template <typename Each>
void for_all_pairs(const std::vector<CorpusFiles>& corpus, const Each& each) {
  for (const CorpusFiles& files : corpus) {
    std::vector<FileState> states;
    for (const std::string& path : paths_of(files)) states.push_back(state_of_file(path));
    CorpusReader reader = open_corpus(files, text::kLongestLine, states);
    for (Pair pair; reader.next(pair);) each(pair);
  }
}

/// A translation as the teacher wrote it.
struct Variant {
  std::string text;
  double score = 0;
};

struct Group {
  std::string source, reference;
  std::vector<Variant> variants;
};

/// Sources with their translations, in the order of the file.
class Groups {
 public:
  Groups(const SelectionFiles& files, bool numbered)
      : names_(files),
        numbered_(numbered),
        sources_(text::read_from_file(files.sources), files.sources),
        references_(text::read_from_file(files.references), files.references),
        translations_(text::read_from_file(files.translations), files.translations) {
    more_ = read_variant();
  }

  bool next(Group& group) {
    if (!sources_.next(group.source)) {
      HEDDLE_CHECK(!more_, names_.translations, ": found a translation of source ", number_,
                   "; expected none behind the last of ", names_.sources, ", ", count_);
      return false;
    }
    HEDDLE_CHECK(references_.next(group.reference), names_.references, ": found ", count_,
                 " lines; expected as many as in ", names_.sources);
    group.variants.clear();
    while (more_ && number_ == count_) {
      group.variants.push_back(variant_);
      more_ = read_variant();
    }
    HEDDLE_CHECK(!group.variants.empty(), names_.translations, ": line ", translations_.lines(),
                 ": found no translation of source ", count_, "; expected ", expected());
    ++count_;
    return true;
  }

 private:
  const char* expected() const {
    return numbered_ ? "its number, counted from 0, then text and score, parted by tabs"
                     : "text, or text and score, parted by tabs";
  }

  /// "12\ttext\t-0.25", or "text\t-0.25\t…", or "text".
  bool read_variant() {
    if (!translations_.next(line_)) return false;
    HEDDLE_CHECK(numbered_ ? read_numbered() : read_plain(), names_.translations, ": line ",
                 translations_.lines(), ": expected ", expected());
    return true;
  }

  bool read_numbered() {
    const size_t first = line_.find('\t'), last = line_.rfind('\t');
    if (first == line_.npos || last == first) return false;
    const auto number = std::from_chars(line_.data(), line_.data() + first, number_);
    variant_.text.assign(line_, first + 1, last - first - 1);
    return number.ec == std::errc{} && number.ptr == line_.data() + first &&
           read_score(last + 1, line_.size());
  }

  bool read_plain() {
    number_ = translations_.lines() - 1;
    const size_t end = std::min(line_.find('\t'), line_.size());
    variant_.text.assign(line_, 0, end);
    return end == line_.size() ||
           read_score(end + 1, std::min(line_.find('\t', end + 1), line_.size()));
  }

  bool read_score(size_t begin, size_t end) {
    const auto score = std::from_chars(line_.data() + begin, line_.data() + end, variant_.score);
    return score.ec == std::errc{} && score.ptr == line_.data() + end;
  }

  const SelectionFiles& names_;
  const bool numbered_;
  text::LineReader sources_, references_, translations_;
  std::string line_;
  bool more_ = false;
  uint64_t number_ = 0, count_ = 0;
  Variant variant_;
};

/// What was taken of a group.
struct Taken {
  size_t variant = 0;
  double score = 0;
  enum class Fault : uint8_t { none, empty, length } fault = Fault::none;
  text::score::Counts bleu{};
};

bool has_bad_length(const std::string& source, const std::string& target, double most) {
  if (most <= 0) return false;
  const auto a = static_cast<double>(text::count_code_points(source));
  const auto b = static_cast<double>(text::count_code_points(target));
  return std::abs(a - b) > static_cast<double>(kFreeLength) &&
         std::max(a, b) > most * std::min(a, b);
}

class Chooser {
 public:
  explicit Chooser(const SelectionSettings& settings) : settings_(settings) {
    text::score::MetricOptions of_sentence;
    of_sentence.effective_order = true;
    sentence_ = text::score::make_metric("bleu", of_sentence);
    corpus_ = text::score::make_metric("bleu");
  }

  Taken take(const Group& group) const {
    const std::string_view reference = group.reference;
    Taken taken;
    double best = -std::numeric_limits<double>::infinity(), best_score = best;
    for (size_t i = 0; i < group.variants.size(); ++i) {
      const Variant& variant = group.variants[i];
      double worth = variant.score;
      if (settings_.choice == Choice::bleu && group.variants.size() > 1) {
        worth = sentence_->score(sentence_->measure(variant.text, {&reference, 1}), 1).value;
      }
      if (worth < best || (worth == best && variant.score <= best_score)) continue;
      best = worth, best_score = variant.score, taken.variant = i;
    }
    const Variant& variant = group.variants[taken.variant];
    taken.score = variant.score;
    if (variant.text.find_first_not_of(' ') == std::string::npos) {
      taken.fault = Taken::Fault::empty;
    } else if (has_bad_length(group.source, variant.text, settings_.max_length_ratio)) {
      taken.fault = Taken::Fault::length;
    } else {
      taken.bleu = corpus_->measure(variant.text, {&reference, 1});
    }
    return taken;
  }

  const SelectionSettings& settings() const { return settings_; }

  double bleu(const text::score::Counts& counts) const {
    return counts.empty() ? 0 : corpus_->score(counts, 1).value;
  }

 private:
  const SelectionSettings& settings_;
  std::unique_ptr<text::score::Metric> sentence_, corpus_;
};

/// Calls each(group, taken) for all groups in their order; threads do the choosing.
template <typename Each>
void for_each_taken(const SelectionFiles& files, const Chooser& chooser, ThreadPool& threads,
                    const Each& each) {
  Groups groups(files, chooser.settings().numbered);
  std::vector<Group> block(kGroups);
  std::vector<Taken> taken(kGroups);
  for (bool more = true; more;) {
    size_t count = 0;
    while (count < kGroups && (more = groups.next(block[count]))) ++count;
    const int64_t shares = (static_cast<int64_t>(count) + kGroupsOfShare - 1) / kGroupsOfShare;
    threads.parallel_for(shares, [&](int64_t share, int) {
      const auto begin = static_cast<size_t>(share * kGroupsOfShare);
      for (size_t i = begin; i < std::min(count, begin + kGroupsOfShare); ++i)
        taken[i] = chooser.take(block[i]);
    });
    for (size_t i = 0; i < count; ++i) each(block[i], taken[i]);
  }
}

/// The score below which the worst share lies; what has it is kept.
double threshold_of(std::vector<double> scores, double share) {
  const auto dropped = static_cast<size_t>(share * static_cast<double>(scores.size()));
  if (dropped == 0) return -std::numeric_limits<double>::infinity();
  std::nth_element(scores.begin(), scores.begin() + static_cast<int64_t>(dropped), scores.end());
  return scores[dropped];
}

void add(text::score::Counts& sums, const text::score::Counts& counts) {
  sums.resize(counts.size());
  for (size_t i = 0; i < counts.size(); ++i) sums[i] += counts[i];
}

}  // namespace

SourceCounts write_sources(const std::vector<CorpusFiles>& corpus,
                           const std::vector<CorpusFiles>& held_out, const std::string& sources,
                           const std::string& references) {
  std::unordered_set<uint64_t> hidden, seen;
  for_all_pairs(held_out, [&](const Pair& pair) { hidden.insert(io::hash64(pair.source)); });
  SourceCounts counts;
  io::AtomicFile source_file(sources), reference_file(references);
  for_all_pairs(corpus, [&](const Pair& pair) {
    ++counts.pairs;
    const uint64_t hash = io::hash64(pair.source);
    if (hidden.contains(hash)) {
      ++counts.held_out;
    } else if (!seen.insert(hash).second) {
      ++counts.repeated;
    } else {
      ++counts.kept;
      source_file.write(pair.source);
      source_file.write("\n");
      reference_file.write(pair.target);
      reference_file.write("\n");
    }
  });
  HEDDLE_CHECK(counts.kept > 0, "sources: found none in ", counts.pairs, " pairs, ",
               counts.held_out, " of them held out; expected text to translate");
  reference_file.commit();
  source_file.commit();
  return counts;
}

std::string SelectionCounts::summary() const {
  return str(sources, " sources, ", kept, " kept, ", sources - kept, " left out (", empty,
             " empty, ", bad_length, " of a bad length, ", improbable, " improbable)");
}

SelectionCounts select_translations(const SelectionFiles& files, const SelectionSettings& settings,
                                    ThreadPool& threads) {
  HEDDLE_CHECK(settings.drop_worst >= 0 && settings.drop_worst < 1, "drop_worst: found ",
               settings.drop_worst, "; expected a share from 0 to below 1");
  HEDDLE_CHECK(settings.max_length_ratio == 0 || settings.max_length_ratio >= 1,
               "max_length_ratio: found ", settings.max_length_ratio,
               "; expected 0, or 1 and more");
  const Chooser chooser(settings);
  std::vector<double> scores;
  SelectionCounts counts;
  for_each_taken(files, chooser, threads, [&](const Group&, const Taken& taken) {
    ++counts.sources;
    counts.empty += taken.fault == Taken::Fault::empty ? 1 : 0;
    counts.bad_length += taken.fault == Taken::Fault::length ? 1 : 0;
    if (taken.fault == Taken::Fault::none) scores.push_back(taken.score);
  });
  const double threshold = threshold_of(std::move(scores), settings.drop_worst);
  io::AtomicFile output(files.output);
  text::score::Counts bleu;
  counts.least_score = std::numeric_limits<double>::infinity();
  for_each_taken(files, chooser, threads, [&](const Group& group, const Taken& taken) {
    if (taken.fault != Taken::Fault::none) return;
    if (taken.score < threshold) {
      ++counts.improbable;
      return;
    }
    ++counts.kept;
    counts.mean_score += taken.score;
    counts.least_score = std::min(counts.least_score, taken.score);
    add(bleu, taken.bleu);
    output.write(group.source);
    output.write("\t");
    output.write(group.variants[taken.variant].text);
    output.write("\n");
  });
  HEDDLE_CHECK(counts.kept > 0, "selection: ", counts.summary(), "; expected some to be kept");
  counts.mean_score /= static_cast<double>(counts.kept);
  counts.bleu = chooser.bleu(bleu);
  output.commit();
  return counts;
}

}  // namespace heddle::data
