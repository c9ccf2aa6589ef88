#include "heddle/io/npy.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>
#include <system_error>
#include <vector>

#include "heddle/io/byte_reader.h"
#include "heddle/io/quoted.h"

namespace heddle::io {

namespace {

static_assert(std::endian::native == std::endian::little, "elements are copied as they lie");

constexpr std::string_view kMagic{"\x93NUMPY", 6};
constexpr size_t kUsualHeader = 256;  // bytes that hold nearly every header
constexpr size_t kLongestHeader = size_t{64} << 10;

/// Reads the header, a Python dictionary of three known keys.
class HeaderParser {
 public:
  HeaderParser(std::string_view name, std::string_view text) : name_(name), text_(text) {}

  struct Fields {
    std::optional<std::string_view> descr;
    std::optional<bool> fortran_order;
    std::optional<Shape> shape;
  };

  Fields parse() {
    Fields fields;
    expect('{', "header");
    while (!take('}')) {
      const std::string_view key = string("header key");
      expect(':', "header");
      if (key == "descr" && !fields.descr) {
        fields.descr = descr();
      } else if (key == "fortran_order" && !fields.fortran_order) {
        fields.fortran_order = boolean();
      } else if (key == "shape" && !fields.shape) {
        fields.shape = shape();
      } else {
        fail("header key", quoted(key), "each of 'descr', 'fortran_order', 'shape' once");
      }
      if (!take(',')) {
        expect('}', "header");
        break;
      }
    }
    check_end();
    const char* missing = !fields.descr           ? "descr"
                          : !fields.fortran_order ? "fortran_order"
                          : !fields.shape         ? "shape"
                                                  : nullptr;
    if (missing != nullptr) fail("header", "no key", quoted(missing));
    return fields;
  }

  [[noreturn]] void fail(std::string_view field, std::string_view found,
                         std::string_view expected) const {
    detail::throw_error(
        str("npy: ", name_, ": ", field, ": found ", found, "; expected ", expected));
  }

 private:
  void skip_spaces() {
    while (!text_.empty() && text_.front() == ' ') text_.remove_prefix(1);
  }

  bool take(char wanted) {
    skip_spaces();
    if (text_.empty() || text_.front() != wanted) return false;
    text_.remove_prefix(1);
    return true;
  }

  void expect(char wanted, std::string_view field) {
    if (!take(wanted)) fail(field, here(), str("'", wanted, "'"));
  }

  std::string here() const { return text_.empty() ? "its end" : quoted(text_); }

  std::string_view string(std::string_view field) {
    skip_spaces();
    const char quote = text_.empty() ? '\0' : text_.front();
    const size_t end = quote == '\'' || quote == '"' ? text_.find(quote, 1) : text_.npos;
    if (end == text_.npos) fail(field, here(), "a quoted string");
    const std::string_view value = text_.substr(1, end - 1);
    text_.remove_prefix(end + 1);
    return value;
  }

  std::string_view descr() {
    skip_spaces();
    if (!text_.empty() && text_.front() == '[') {
      fail("descr", "a structured type", "one plain type such as '<f4'");
    }
    return string("descr");
  }

  bool boolean() {
    skip_spaces();
    for (const bool value : {false, true}) {
      const std::string_view word = value ? "True" : "False";
      if (text_.substr(0, word.size()) != word) continue;
      text_.remove_prefix(word.size());
      return value;
    }
    fail("fortran_order", here(), "True or False");
  }

  int64_t length() {
    skip_spaces();
    int64_t value = 0;
    const char* end = text_.data() + text_.size();
    const auto [rest, error] = std::from_chars(text_.data(), end, value);
    if (error != std::errc{} || value < 0) fail("shape", here(), "lengths of 0 … 2^63 - 1");
    text_.remove_prefix(static_cast<size_t>(rest - text_.data()));
    return value;
  }

  Shape shape() {
    expect('(', "shape");
    std::vector<int64_t> lengths;
    bool comma = true;  // of a tuple: (), (3,), (3, 4), (3, 4,), but not (3)
    while (!take(')')) {
      if (!comma) fail("shape", here(), "',' or ')'");
      if (lengths.size() == static_cast<size_t>(Shape::kMaxRank)) {
        fail("shape", str("more than ", Shape::kMaxRank, " axes"),
             str("at most ", Shape::kMaxRank));
      }
      lengths.push_back(length());
      comma = take(',');
    }
    if (lengths.size() == 1 && !comma) fail("shape", "a number in brackets", "a tuple, as '(3,)'");
    return shape_of(lengths);
  }

  /// After the dictionary: spaces, then the newline that ends every header.
  void check_end() {
    skip_spaces();
    if (text_ != "\n") fail("header", here(), "spaces and a newline after '}'");
  }

  std::string_view name_;
  std::string_view text_;
};

struct ElementType {
  std::string_view code;
  DType dtype;
};

constexpr ElementType kElementTypes[] = {
    {"f2", DType::f16}, {"f4", DType::f32}, {"f8", DType::f64}, {"i1", DType::i8},
    {"i4", DType::i32}, {"i8", DType::i64}, {"u1", DType::u8},  {"b1", DType::u8},
};

/// What a type that is not read would be called, for the error message.
std::string_view kind_of(std::string_view descr) {
  if (descr.size() < 2) return "not a type";
  if (descr[0] == '>') return "big-endian";
  switch (descr[1]) {
    case 'O':
      return "Python objects";
    case 'U':
    case 'S':
    case 'a':
      return "strings";
    case 'M':
    case 'm':
      return "dates";
    case 'c':
      return "complex numbers";
    case 'V':
      return "raw bytes";
    default:
      return "not a type that is read";
  }
}

DType element_type(const HeaderParser& parser, std::string_view descr) {
  for (const ElementType& type : kElementTypes) {
    if (descr.size() != 3 || descr.substr(1) != type.code) continue;
    if (descr[0] == '<' || (descr[0] == '|' && size_of(type.dtype) == 1)) return type.dtype;
  }
  parser.fail("descr", str(quoted(descr), " (", kind_of(descr), ")"),
              "little-endian f2, f4, f8, i1, i4, i8, u1 or b1. Hint: convert it with "
              "numpy.ascontiguousarray(x, dtype=\"<i4\") before saving");
}

uint32_t little_endian(std::span<const std::byte> bytes) {
  uint32_t value = 0;
  for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
    value = value << 8 | std::to_integer<uint32_t>(*byte);
  }
  return value;
}

/// Bytes of magic, version, header length and header; of the first bytes of a file.
size_t header_end(std::string_view name, std::span<const std::byte> start, uint64_t file_size) {
  const std::string_view text(reinterpret_cast<const char*>(start.data()), start.size());
  HEDDLE_CHECK(text.substr(0, kMagic.size()) == kMagic, "npy: ", name, ": magic: found ",
               quoted(text.substr(0, kMagic.size())), "; expected ", quoted(kMagic),
               ". Hint: save it with numpy.save");
  HEDDLE_CHECK(start.size() >= 10, "npy: ", name, ": preamble: found ", file_size,
               " bytes in the file; expected at least 10");
  const int version = std::to_integer<int>(start[6]), minor = std::to_integer<int>(start[7]);
  HEDDLE_CHECK(version >= 1 && version <= 3 && minor == 0, "npy: ", name, ": version: found ",
               version, ".", minor, "; expected 1.0, 2.0 or 3.0");
  const size_t preamble = version == 1 ? 10 : 12;
  HEDDLE_CHECK(start.size() >= preamble, "npy: ", name, ": preamble: found ", file_size,
               " bytes in the file; expected at least ", preamble);
  const size_t header = little_endian(start.subspan(8, preamble - 8));
  HEDDLE_CHECK(header <= kLongestHeader, "npy: ", name, ": header length: found ", header,
               "; expected at most ", kLongestHeader);
  HEDDLE_CHECK(header <= file_size - preamble, "npy: ", name, ": header length: found ", header,
               "; expected at most the ", file_size - preamble, " bytes that follow");
  return preamble + header;
}

/// From the text of the header and the bytes of the whole array's file.
NpyLayout parse_header(std::string_view name, std::string_view header, size_t end,
                       uint64_t file_size) {
  HeaderParser parser(name, header);
  const HeaderParser::Fields fields = parser.parse();
  NpyLayout layout;
  layout.shape = *fields.shape;
  layout.dtype = element_type(parser, *fields.descr);
  layout.is_bool = fields.descr->ends_with("b1");
  HEDDLE_CHECK(!*fields.fortran_order || layout.shape.rank() < 2, "npy: ", name,
               ": fortran_order: found True for shape ", layout.shape.text(),
               "; expected False. Hint: save numpy.ascontiguousarray(x)");
  const std::optional<uint64_t> bytes = checked_bytes(layout.shape, layout.dtype);
  if (!bytes) parser.fail("shape", layout.shape.text(), "fewer than 2^63 bytes in all");
  layout.data_offset = end;
  layout.data_bytes = *bytes;
  const uint64_t left = file_size - end;
  HEDDLE_CHECK(left == layout.data_bytes, "npy: ", name, ": data: found ", left,
               " bytes after the header; expected ", layout.data_bytes, " for ",
               name_of(layout.dtype), " ", layout.shape.text(),
               left < layout.data_bytes ? " (truncated file)" : " (trailing bytes)");
  return layout;
}

}  // namespace

NpyLayout read_npy_layout(const Source& source, uint64_t begin, uint64_t size,
                          std::string_view name) {
  std::vector<std::byte> start(std::min<uint64_t>(size, kUsualHeader));
  source.read(start.data(), start.size(), begin);
  const size_t end = header_end(name, start, size);
  if (end > start.size()) {
    start.resize(end);
    source.read(start.data(), start.size(), begin);
  }
  const size_t preamble = std::to_integer<int>(start[6]) == 1 ? 10 : 12;
  const std::string_view text(reinterpret_cast<const char*>(start.data()), end);
  NpyLayout layout = parse_header(name, text.substr(preamble), end, size);
  layout.data_offset += begin;
  return layout;
}

void check_npy_elements(const Tensor& tensor, const NpyLayout& layout, std::string_view name) {
  if (!layout.is_bool) return;
  const auto* data = static_cast<const uint8_t*>(tensor.raw());
  const auto* end = data + layout.data_bytes;
  const auto* bad = std::find_if(data, end, [](uint8_t value) { return value > 1; });
  HEDDLE_CHECK(bad == end, "npy: ", name, ": data: found ", int{*bad}, " in a bool at offset ",
               layout.data_offset + static_cast<uint64_t>(bad - data), "; expected 0 or 1");
}

Tensor read_npy(const Source& source) {
  const NpyLayout layout = read_npy_layout(source, 0, source.size(), source.name());
  Tensor tensor = read_tensor(source, layout.shape, layout.dtype, layout.data_offset);
  check_npy_elements(tensor, layout, source.name());
  return tensor;
}

Tensor read_npy(const std::string& path) { return read_npy(Source(path)); }

Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name) {
  return read_npy(Source(bytes, std::string(name)));
}

}  // namespace heddle::io
