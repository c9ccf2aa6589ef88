// The normalizer, the pre-tokenizer and the decoder of a tokenizer.json.
#include <algorithm>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"
#include "heddle/text/tokenizer_json_internal.h"
#include "heddle/text/utf8.h"

namespace heddle::text {

namespace {

constexpr size_t kMaxContentBytes = 256;  // of a text that a step puts in

// What splits words in GPT-2, and in each ByteLevel that is not told otherwise.
constexpr std::string_view kByteLevelRegex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kWhitespaceRegex =
    R"([\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]+|)"
    R"([^\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}\s]+)";

std::string content_of(const io::Field& field) {
  const std::string& text = field.text();
  if (text.size() > kMaxContentBytes) field.fail(str("at most ", kMaxContentBytes, " bytes"));
  return text;
}

std::string character_of(const io::Field& field) {
  const std::string& text = field.text();
  if (count_code_points(text) != 1) field.fail("one character");
  return text;
}

BpePattern read_pattern(const io::Field& field) {
  check_members(field, {"String", "Regex"});
  const auto fixed = field.find("String"), regex = field.find("Regex");
  if (fixed.has_value() == regex.has_value()) field.fail("one of String and Regex");
  if (regex) return BpePattern::regex(regex->text(), regex->place());
  if (fixed->text().empty()) fixed->fail("a text that is not empty");
  return BpePattern::fixed(content_of(*fixed));
}

SplitBehavior behavior_of(const io::Field& field) {
  const std::string& name = field.text();
  if (name == "Removed") return SplitBehavior::removed;
  if (name == "Isolated") return SplitBehavior::isolated;
  if (name == "MergedWithPrevious") return SplitBehavior::merged_with_previous;
  if (name == "MergedWithNext") return SplitBehavior::merged_with_next;
  if (name == "Contiguous") return SplitBehavior::contiguous;
  field.fail("Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

SplitStep cut_at(CharClass chars, SplitBehavior behavior) {
  SplitStep step;
  step.chars = chars;
  step.behavior = behavior;
  return step;
}

SplitStep cut_at(BpePattern pattern, SplitBehavior behavior, bool invert = false) {
  SplitStep step;
  step.pattern = std::move(pattern);
  step.behavior = behavior;
  step.invert = invert;
  return step;
}

SplitStep rewrite(SplitStep::Kind kind, std::string content = {}, bool only_first = false) {
  SplitStep step;
  step.kind = kind;
  step.content = std::move(content);
  step.only_first = only_first;
  return step;
}

/// "always", "first" or "never"; old files say add_prefix_space instead.
std::string prepend_scheme(const io::Field& part) {
  const bool adds = part.boolean_or("add_prefix_space", true);
  const std::string scheme = part.text_or("prepend_scheme", adds ? "always" : "never");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    part["prepend_scheme"].fail("always, first or never");
  }
  if (!adds && scheme != "never")
    part["prepend_scheme"].fail("never, as add_prefix_space is false");
  return scheme;
}

void read_metaspace(const io::Field& part, std::vector<SplitStep>& steps) {
  check_members(part, {"replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
  const std::string mark = character_of(part["replacement"]);
  const std::string scheme = prepend_scheme(part);
  steps.push_back(rewrite(SplitStep::Kind::replace, mark));
  if (scheme != "never") {
    steps.push_back(rewrite(SplitStep::Kind::prefix, mark, scheme == "first"));
  }
  if (part.boolean_or("split", true)) {
    steps.push_back(cut_at(BpePattern::fixed(mark), SplitBehavior::merged_with_next));
  }
}

void read_split_step(const io::Field& part, std::vector<SplitStep>& steps) {
  const std::string& type = part["type"].text();
  if (type == "ByteLevel") {
    check_members(part, {"add_prefix_space", "trim_offsets", "use_regex"});
    if (part.boolean_or("add_prefix_space", true)) {
      steps.push_back(rewrite(SplitStep::Kind::prefix, " "));
    }
    if (part.boolean_or("use_regex", true)) {
      steps.push_back(
          cut_at(BpePattern::regex(kByteLevelRegex, part.place()), SplitBehavior::isolated));
    }
    steps.push_back(rewrite(SplitStep::Kind::byte_chars));
  } else if (type == "Split") {
    check_members(part, {"pattern", "behavior", "invert"});
    steps.push_back(cut_at(read_pattern(part["pattern"]), behavior_of(part["behavior"]),
                           part.boolean_or("invert", false)));
  } else if (type == "Digits") {
    check_members(part, {"individual_digits"});
    steps.push_back(cut_at(CharClass::number, part.boolean_or("individual_digits", false)
                                                  ? SplitBehavior::isolated
                                                  : SplitBehavior::contiguous));
  } else if (type == "Punctuation") {
    check_members(part, {"behavior"});
    const auto behavior = part.find("behavior");
    steps.push_back(cut_at(CharClass::punctuation,
                           behavior ? behavior_of(*behavior) : SplitBehavior::isolated));
  } else if (type == "WhitespaceSplit") {
    check_members(part, {});
    steps.push_back(cut_at(CharClass::white_space, SplitBehavior::removed));
  } else if (type == "Whitespace") {
    check_members(part, {});
    steps.push_back(
        cut_at(BpePattern::regex(kWhitespaceRegex, part.place()), SplitBehavior::removed, true));
  } else if (type == "Metaspace") {
    read_metaspace(part, steps);
  } else {
    refuse_type(part,
                "ByteLevel, Split, Digits, Punctuation, Metaspace, Whitespace, WhitespaceSplit or "
                "Sequence");
  }
}

DecodeStep read_decode_step(const io::Field& part) {
  using Kind = DecodeStep::Kind;
  const std::string& type = part["type"].text();
  DecodeStep step;
  if (type == "ByteLevel") {
    check_members(part, {"add_prefix_space", "trim_offsets", "use_regex"});
    step.kind = Kind::byte_level;
  } else if (type == "ByteFallback" || type == "Fuse") {
    check_members(part, {});
    step.kind = type == "Fuse" ? Kind::fuse : Kind::byte_fallback;
  } else if (type == "Replace") {
    check_members(part, {"pattern", "content"});
    const io::Field pattern = part["pattern"];
    check_members(pattern, {"String"});
    if (pattern["String"].text().empty()) pattern.fail("a text that is not empty");
    step.kind = Kind::replace;
    step.content = content_of(pattern["String"]);
    step.other = content_of(part["content"]);
  } else if (type == "Metaspace") {
    check_members(part, {"replacement", "add_prefix_space", "prepend_scheme", "split", "str_rep"});
    step.kind = Kind::metaspace;
    step.content = character_of(part["replacement"]);
    step.strips = prepend_scheme(part) != "never";
  } else if (type == "Strip") {
    check_members(part, {"content", "start", "stop"});
    step.kind = Kind::strip;
    step.content = character_of(part["content"]);
    step.start = static_cast<size_t>(part["start"].integer(0, 1024));
    step.stop = static_cast<size_t>(part["stop"].integer(0, 1024));
  } else {
    refuse_type(part, "ByteLevel, ByteFallback, Fuse, Replace, Metaspace, Strip or Sequence");
  }
  return step;
}

/// Behind a step that joins all pieces to one, text comes in parts that are no pieces.
void check_order(const DecodeStep& step, bool joined, const io::Field& part) {
  if (!joined || step.kind == DecodeStep::Kind::fuse) return;
  if (step.kind == DecodeStep::Kind::strip && step.stop == 0) return;
  refuse_type(part, "Strip with stop 0 or nothing behind Fuse and ByteLevel");
}

}  // namespace

BpeNormalizer read_normalizer(const io::Field& part) {
  BpeNormalizer normalizer;
  for (const io::Field& field : flatten(part, "normalizers")) {
    using Kind = NormalizeStep::Kind;
    constexpr std::string_view kForms[] = {"NFC", "NFD", "NFKC", "NFKD"};
    const std::string& type = field["type"].text();
    NormalizeStep step;
    if (const auto* form = std::find(std::begin(kForms), std::end(kForms), type);
        form != std::end(kForms)) {
      check_members(field, {});
      step.form = static_cast<NormalForm>(form - std::begin(kForms));
    } else if (type == "Prepend") {
      check_members(field, {"prepend"});
      step.kind = Kind::prepend;
      step.content = content_of(field["prepend"]);
    } else if (type == "Replace") {
      check_members(field, {"pattern", "content"});
      step.kind = Kind::replace;
      step.pattern = read_pattern(field["pattern"]);
      step.content = content_of(field["content"]);
    } else {
      refuse_type(field, "NFC, NFD, NFKC, NFKD, Prepend, Replace or Sequence");
    }
    normalizer.steps.push_back(std::move(step));
  }
  return normalizer;
}

BpeSplitter read_splitter(const io::Field& part) {
  BpeSplitter splitter;
  for (const io::Field& field : flatten(part, "pretokenizers")) {
    read_split_step(field, splitter.steps);
  }
  return splitter;
}

BpeDecoder read_decoder(const io::Field& part) {
  BpeDecoder decoder;
  bool joined = false;
  for (const io::Field& field : flatten(part, "decoders")) {
    DecodeStep step = read_decode_step(field);
    check_order(step, joined, field);
    joined =
        joined || step.kind == DecodeStep::Kind::fuse || step.kind == DecodeStep::Kind::byte_level;
    decoder.steps.push_back(std::move(step));
  }
  return decoder;
}

}  // namespace heddle::text
