#include "heddle/text/bpe_regex_syntax.h"

#include <cstddef>
#include <cstdint>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"

namespace heddle::text {

namespace {

// ICU's own \w has U+200C and U+200D too, and its \b looks past combining marks. Oniguruma counts
// the numbers of Latin-1 that are no digits.
constexpr std::string_view kWord =
    "[\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u00B2\\u00B3\\u00B9\\u00BC-\\u00BE]";
constexpr std::string_view kNotWord =
    "[^\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\u00B2\\u00B3\\u00B9\\u00BC-\\u00BE]";

/// Escapes of letters and digits that both read alike.
constexpr std::string_view kSharedEscapes = "AZzdDsStnrfaepPux123456789";

bool is_letter_or_digit(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

class Translator {
 public:
  Translator(std::string_view expression, std::string_view place)
      : in_(expression), place_(place) {}

  std::string translate() {
    while (at_ < in_.size()) {
      if (in_[at_] == '\\') {
        translate_escape();
      } else if (sets_ > 0) {
        translate_in_set();
      } else {
        translate_outside();
      }
    }
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(std::string_view found, std::string_view reason) const {
    detail::throw_error(str("tokenizer: ", place_, ": found ", io::quoted(found),
                            " in the regular expression (byte ", at_,
                            "); expected none: ", reason));
  }

  bool follows(std::string_view text) const { return in_.substr(at_).starts_with(text); }

  void copy(size_t bytes) {
    out_ += in_.substr(at_, bytes);
    at_ += bytes;
  }

  void translate_escape() {
    if (at_ + 1 == in_.size()) refuse("\\", "nothing follows it");
    const char kind = in_[at_ + 1];
    if (kind == 'w' || kind == 'W') {
      out_ += kind == 'w' ? kWord : kNotWord;
      at_ += 2;
    } else if ((kind == 'b' || kind == 'B') && sets_ == 0) {
      translate_boundary(kind == 'b');
    } else if (kind == 'v') {
      out_ += "\\x{0B}";  // more than this in ICU
      at_ += 2;
    } else if (is_letter_or_digit(kind) && kSharedEscapes.find(kind) == kSharedEscapes.npos) {
      refuse(in_.substr(at_, 2), "it has no meaning that is the same everywhere");
    } else {
      copy(2);
      if ((kind == 'p' || kind == 'P' || kind == 'x') && follows("{")) copy_braces();
    }
  }

  /// The name of a property, or a code point.
  void copy_braces() {
    const size_t end = in_.find('}', at_);
    if (end == in_.npos) refuse(in_.substr(at_, 8), "the brace is not closed");
    copy(end + 1 - at_);
  }

  void translate_boundary(bool boundary) {
    const auto between = [&](std::string_view behind, std::string_view ahead) {
      out_ += str("(?<", behind, kWord, ")(?", ahead, kWord, ")");
    };
    out_ += "(?:";
    between("=", boundary ? "!" : "=");
    out_ += '|';
    between("!", boundary ? "=" : "!");
    out_ += ')';
    at_ += 2;
  }

  void translate_in_set() {
    if (follows("[:")) refuse("[:", "the sets of POSIX differ");
    for (const std::string_view operation : {"--", "]-[", "&["}) {
      if (follows(operation) && !(operation == "&[" && at_ > 0 && in_[at_ - 1] == '&')) {
        refuse(operation, "it is an operation on sets in some libraries only");
      }
    }
    sets_ += in_[at_] == '[' ? 1 : 0;
    sets_ -= in_[at_] == ']' ? 1 : 0;
    copy(1);
  }

  void translate_outside() {
    if (follows("(?")) {
      translate_group();
    } else if (in_[at_] == '{') {
      translate_count();
    } else {
      if (in_[at_] == '[') {
        ++sets_;
        if (follows("[]") || follows("[^]")) refuse("[]", "write \\] in a set");
        if (follows("[:")) refuse("[:", "the sets of POSIX differ");
      }
      copy(1);
    }
  }

  /// "(?=" and its like, "(?i:", "(?i)", "(?<name>".
  void translate_group() {
    for (const std::string_view shared :
         {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:", "(?i)", "(?-i)"}) {
      if (follows(shared)) return copy(shared.size());
    }
    if (follows("(?<")) return copy(3);
    refuse(in_.substr(at_, 3), "of the options, only i means the same everywhere");
  }

  /// "{2}", "{1,3}"; Ruby reads "{1,3}+" as a repeated group and "{2}?" as an optional one.
  void translate_count() {
    const size_t end = in_.find('}', at_);
    if (end == in_.npos || !is_digit(at_ + 1)) refuse(in_.substr(at_, 4), "write \\{ for a brace");
    const bool exact = in_.substr(at_, end - at_).find(',') == in_.npos;
    for (size_t i = at_ + 1; i < end; ++i) {
      if (!is_digit(i) && in_[i] != ',') refuse(in_.substr(at_, 4), "write \\{ for a brace");
    }
    copy(end + 1 - at_);
    if (follows("+") || (exact && follows("?"))) {
      refuse(in_.substr(at_, 1), "after a count in braces it has two meanings");
    }
  }

  bool is_digit(size_t at) const { return at < in_.size() && in_[at] >= '0' && in_[at] <= '9'; }

  std::string_view in_;
  std::string_view place_;
  std::string out_;
  size_t at_ = 0;
  int sets_ = 0;  // sets inside one another that are open
};

}  // namespace

std::string regex_for_icu(std::string_view expression, std::string_view place) {
  return Translator(expression, place).translate();
}

}  // namespace heddle::text
