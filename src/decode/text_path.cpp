#include "heddle/decode/text_path.h"

#include <algorithm>

namespace heddle::decode {

namespace {

/// A line feed in a translation would break the order of the lines.
void remove_line_feeds(std::string& text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  std::replace(text.begin(), text.end(), '\r', ' ');
}

}  // namespace

int64_t count_words(std::string_view text) {
  int64_t words = 0;
  bool inside = false;
  for (const char c : text) {
    const bool space = c == ' ' || (c >= '\t' && c <= '\r');
    words += !space && !inside ? 1 : 0;
    inside = !space;
  }
  return words;
}

TextPath::TextPath(const TextSettings& settings)
    : settings_(settings), segmenter_(*settings.source, settings.segments) {}

void TextPath::prepare(Line& line, Statistics& statistics) {
  statistics.source_words += count_words(line.text);
  statistics.source_bytes += std::ssize(line.text);
  if (!line.prefix.empty()) line.prefix_tokens = settings_.target->encode(line.prefix);
  line.frame = segmenter_.prepare(line.text);
  line.text = {};
  if (line.frame.segments.size() > 1 && !settings_.segments.split_sentences) {
    ++statistics.cut_lines;
  }
  for (text::PreparedLine::Segment& segment : line.frame.segments) {
    line.pieces.push_back({std::move(segment.tokens), {}});
    if (settings_.ends_source) line.pieces.back().tokens.push_back(settings_.end);
    statistics.source_tokens += std::ssize(line.pieces.back().tokens);
  }
  line.open_pieces = std::ssize(line.pieces);
  line.prepared = Clock::now();
}

Variant TextPath::variant(const Line& line, size_t rank, const Options& options) const {
  Variant variant;
  std::vector<std::string> texts;
  int32_t first_source = 0, first_target = 0;
  for (const Piece& piece : line.pieces) {
    const size_t last = piece.hypotheses.size() - 1;  // a piece may have fewer variants than others
    const Hypothesis& hypothesis = piece.hypotheses[std::min(rank, last)];
    texts.push_back(settings_.target->decode(hypothesis.tokens));
    variant.score += hypothesis.score;
    variant.token_scores.insert(variant.token_scores.end(), hypothesis.token_scores.begin(),
                                hypothesis.token_scores.end());
    if (options.scores || options.alignments) {
      for (const int32_t token : hypothesis.tokens) {
        variant.pieces.emplace_back(settings_.target->piece(token));
      }
      if (hypothesis.ended) variant.pieces.emplace_back(settings_.target->piece(settings_.end));
    }
    const auto sources = static_cast<int32_t>(piece.tokens.size());
    const auto targets =
        static_cast<int32_t>(hypothesis.tokens.size()) + (hypothesis.ended ? 1 : 0);
    for (int32_t i = 0; i < std::ssize(hypothesis.alignment); ++i) {
      variant.alignment.push_back({first_source + i % sources, first_target + i / sources,
                                   hypothesis.alignment[static_cast<size_t>(i)]});
    }
    first_source += sources;
    first_target += targets;
  }
  variant.text = text::join(line.frame, texts);
  remove_line_feeds(variant.text);
  return variant;
}

Translation TextPath::finish(const Line& line, const Options& options,
                             Statistics& statistics) const {
  Translation translation;
  ++statistics.lines;
  if (line.refused) ++statistics.refused_lines;
  if (line.pieces.empty()) {
    translation.text = text::join(line.frame, {});
    remove_line_feeds(translation.text);
    return translation;
  }
  size_t variants = 1;
  for (const Piece& piece : line.pieces) {
    const Hypothesis& best = piece.hypotheses.front();
    statistics.target_tokens += std::ssize(best.tokens) + (best.ended ? 1 : 0);
    if (!best.ended) ++statistics.unfinished;
    variants = std::max(variants, piece.hypotheses.size());
  }
  statistics.latency.add(std::chrono::duration<double>(Clock::now() - line.prepared).count());
  const bool details = options.n_best > 1 || options.scores || options.alignments;
  if (!details) {
    translation.text = variant(line, 0, options).text;
    return translation;
  }
  for (size_t rank = 0; rank < variants; ++rank) {
    translation.variants.push_back(variant(line, rank, options));
  }
  translation.text = translation.variants.front().text;
  if (options.alignments) {
    for (const Piece& piece : line.pieces) {
      for (const int32_t token : piece.tokens) {
        translation.source_pieces.emplace_back(settings_.source->piece(token));
      }
    }
  }
  return translation;
}

}  // namespace heddle::decode
