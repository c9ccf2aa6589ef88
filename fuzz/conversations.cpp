// Fuzz target: lines of jsonl to conversations, their tokens, and a packed row. The first byte says
// which format and what becomes of bad lines. However the bytes arrive, the conversations are the
// same; every line is counted once; every label is the next token of its document.
#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "fuzz/reader_of.h"
#include "fuzz/source_of.h"
#include "heddle/data/chat_tokens.h"
#include "heddle/data/row_packer.h"
#include "heddle/text/utf8.h"
#include "tests/text/tokenizer_json_builder.h"

namespace {

using namespace heddle;

constexpr int64_t kLongest = 64;  // tokens

struct Found {
  std::vector<data::Conversation> conversations;
  std::string error;  ///< empty: the input was read to its end
};

Found found_in(std::string_view bytes, const data::ConversationOptions& options, size_t step) {
  Found found;
  try {
    data::ConversationReader reader(fuzz::reader_of(bytes, step), "input", options);
    for (data::Conversation each; reader.next(each);) found.conversations.push_back(each);
    const data::ConversationCounts& counts = reader.counts();
    fuzz::require(counts.lines == counts.kept + counts.blank_lines + counts.empty +
                                      counts.too_long_lines + counts.not_json +
                                      counts.wrong_fields + counts.unsupported,
                  "conversations: a line is not counted once");
    fuzz::require(counts.kept == found.conversations.size(), "conversations: kept is miscounted");
  } catch (const Error& error) {
    found.error = error.what();
  }
  return found;
}

void check_row(const data::PackedRow& row) {
  for (size_t d = 0; d + 1 < row.offsets.size(); ++d) {
    const auto begin = static_cast<size_t>(row.offsets[d]),
               end = static_cast<size_t>(row.offsets[d + 1]);
    bool learns = false;
    for (size_t i = begin; i < end; ++i) {
      const int32_t label = row.labels[i];
      learns = learns || label != data::kNoLabel;
      fuzz::require(label == data::kNoLabel || (i + 1 < end && label == row.tokens[i + 1]),
                    "conversations: a label is not the next token of its document");
    }
    fuzz::require(learns, "conversations: a document without a label");
  }
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

void check_tokens(const std::vector<data::Conversation>& conversations) {
  static const text::BpeTokenizer tokenizer =
      text::make_bpe_tokenizer(text::TestTokenizerJson{}.text(), "test.json");
  const data::ChatTokens tokens(
      tokenizer, rendered,
      {.max_length = kLongest, .excess_length_strategy = data::ExcessLength::truncate});
  std::vector<int32_t> stored;
  std::vector<uint64_t> offsets{0};
  data::TokenCounts counts;
  for (const data::Conversation& each : conversations) {
    for (const data::Turn& turn : each.turns) {
      fuzz::require(text::is_valid_utf8(turn.text) && turn.text.find('\0') == std::string::npos,
                    "conversations: a text that is not UTF-8, or has NUL");
    }
    data::TokenExample example;
    if (data::take_example(tokens.encode(each, "input", example), example, counts, stored)) {
      offsets.push_back(stored.size());
    }
  }
  if (offsets.size() == 1) return;
  data::RowPacker packer({stored, offsets}, {.packing_length = kLongest});
  size_t seen = 0;
  for (data::PackedRow row; packer.next(row); seen += row.examples.size()) check_row(row);
  fuzz::require(seen + 1 == offsets.size(), "conversations: an example is lost in packing");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  const data::ConversationOptions options{
      .format = static_cast<data::DatasetFormat>(data[0] % 6),
      .on_bad_line = data[0] < 128 ? data::OnBadLine::raise : data::OnBadLine::skip,
      .longest_line = 4096};
  const Found whole = found_in(bytes, options, 1 << 20), pieces = found_in(bytes, options, 7);
  fuzz::require(whole.error == pieces.error, "conversations: an error depends on how bytes arrive");
  fuzz::require(std::equal(whole.conversations.begin(), whole.conversations.end(),
                           pieces.conversations.begin(), pieces.conversations.end(),
                           [](const data::Conversation& a, const data::Conversation& b) {
                             return a.turns == b.turns && a.line == b.line;
                           }),
                "conversations: turns depend on how bytes arrive");
  check_tokens(whole.conversations);
  return 0;
}
