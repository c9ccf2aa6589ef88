// Fuzz target: lines of jsonl to ranked answers, their groups of tokens, and packed rows. The first
// byte says what becomes of bad lines and whether questions are shared. However the bytes arrive,
// the preferences are the same; every line is counted once; no group is cut or lost.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/reader_of.h"
#include "fuzz/source_of.h"
#include "heddle/data/group_packer.h"
#include "heddle/data/preference_tokens.h"
#include "heddle/data/row_packer.h"
#include "tests/text/tokenizer_json_builder.h"

namespace {

using namespace heddle;

constexpr int64_t kLongest = 64, kRow = 160;  // tokens

struct Found {
  std::vector<data::Preference> preferences;
  std::string error;  ///< empty: the input was read to its end
};

Found found_in(std::string_view bytes, const data::ConversationOptions& options, size_t step) {
  Found found;
  try {
    data::PreferenceReader reader(fuzz::reader_of(bytes, step), "input", options);
    for (data::Preference each; reader.next(each);) {
      fuzz::require(data::pairs_of(each.scores) > 0 && each.scores.size() == each.answers.size(),
                    "preferences: a question without two answers of different scores");
      found.preferences.push_back(each);
    }
    const data::ConversationCounts& lines = reader.counts().lines;
    fuzz::require(lines.lines == lines.kept + lines.blank_lines + lines.empty +
                                     lines.too_long_lines + lines.not_json + lines.wrong_fields +
                                     lines.unsupported + reader.counts().contradictions +
                                     reader.counts().no_pair,
                  "preferences: a line is not counted once");
    fuzz::require(lines.kept == found.preferences.size(), "preferences: kept is miscounted");
  } catch (const Error& error) {
    found.error = error.what();
  }
  return found;
}

/// A template that takes turns in any order.
std::vector<data::Segment> rendered(std::span<const data::Turn> turns) {
  std::vector<data::Segment> segments;
  for (const data::Turn& turn : turns) {
    const auto number = static_cast<int32_t>(&turn - turns.data());
    segments.push_back({data::SegmentKind::markup, data::name_of(turn.role)});
    segments.push_back({data::SegmentKind::content, turn.text, number});
    segments.push_back({data::SegmentKind::end, "<|im_end|>", number});
  }
  return segments;
}

void check_row(const data::PackedGroups& row) {
  fuzz::require(static_cast<int64_t>(row.tokens.size()) <= kRow, "preferences: a row is too long");
  for (size_t g = 0; g < row.groups.size(); ++g) {
    const data::PreferenceGroup& group = row.groups[g];
    int64_t tokens = 0;
    for (size_t i = 0; i < group.answers.size(); ++i) {
      tokens += group.answers[i] + (i == 0 || !group.shared ? group.question : 0);
    }
    fuzz::require(tokens == row.offsets[g + 1] - row.offsets[g], "preferences: a group is cut");
  }
}

void check_tokens(const std::vector<data::Preference>& preferences, bool share) {
  static const text::BpeTokenizer tokenizer =
      text::make_bpe_tokenizer(text::TestTokenizerJson{}.text(), "test.json");
  const data::PreferenceTokens tokens(
      tokenizer, rendered,
      {.tokens = {.max_length = kLongest, .excess_length_strategy = data::ExcessLength::truncate},
       .row_length = kRow,
       .share = share});
  std::vector<int32_t> stored;
  std::vector<uint64_t> offsets{0};
  data::TokenGroup group;
  for (const data::Preference& each : preferences) {
    try {
      const data::TokenOutcome outcome = tokens.encode(each, "input", group);
      if (outcome != data::TokenOutcome::kept && outcome != data::TokenOutcome::truncated) continue;
    } catch (const Error&) {
      continue;  // turns that this template renders in another way before an answer
    }
    for (const auto& list : {data::shape_of(group.shape), group.stored}) {
      stored.insert(stored.end(), list.begin(), list.end());
      offsets.push_back(stored.size());
    }
  }
  const data::PreferenceGroups groups{stored, offsets};
  if (groups.size() == 0) return;
  data::GroupPacker packer(groups, {.packing_length = kRow});
  uint64_t seen = 0;
  for (data::PackedGroups row; packer.next(row); seen += row.groups.size()) check_row(row);
  fuzz::require(seen == groups.size(), "preferences: a group is lost in packing");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const data::ConversationOptions options{
      .on_bad_line = data[0] < 128 ? data::OnBadLine::raise : data::OnBadLine::skip,
      .longest_line = 4096};
  const Found whole = found_in(bytes, options, 1 << 20), pieces = found_in(bytes, options, 7);
  fuzz::require(whole.error == pieces.error, "preferences: an error depends on how bytes arrive");
  fuzz::require(std::equal(whole.preferences.begin(), whole.preferences.end(),
                           pieces.preferences.begin(), pieces.preferences.end(),
                           [](const data::Preference& a, const data::Preference& b) {
                             return a.prompt == b.prompt && a.answers == b.answers &&
                                    a.scores == b.scores && a.line == b.line;
                           }),
                "preferences: answers depend on how bytes arrive");
  check_tokens(whole.preferences, data[0] % 2 == 0);
  return 0;
}
