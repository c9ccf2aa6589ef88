#include "heddle/io/npy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <optional>
#include <system_error>
#include <vector>

namespace heddle::io {

namespace {

static_assert(std::endian::native == std::endian::little, "elements are copied as they lie");

constexpr std::string_view kMagic{"\x93NUMPY", 6};
constexpr size_t kLongestPreamble = 12;  // magic, two version bytes, header length
constexpr size_t kLongestHeader = size_t{64} << 10;

/// What the header says, and where the elements lie.
struct Layout {
  Shape shape;
  DType dtype = DType::u8;
  bool is_bool = false;
  size_t data_offset = 0;
  size_t data_bytes = 0;
};

/// Foreign text for an error message: short, on one line, printable.
std::string quoted(std::string_view text) {
  constexpr size_t kShown = 48;
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string result = "'";
  for (const char c : text.substr(0, kShown)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && byte < 0x7f) {
      result += c;
    } else {
      result += {'\\', 'x', kHex[byte >> 4], kHex[byte & 15]};
    }
  }
  return result + (text.size() > kShown ? "…'" : "'");
}

Shape shape_of(const std::vector<int64_t>& n) {
  static_assert(Shape::kMaxRank == 6);
  switch (n.size()) {
    case 0:
      return {};
    case 1:
      return {n[0]};
    case 2:
      return {n[0], n[1]};
    case 3:
      return {n[0], n[1], n[2]};
    case 4:
      return {n[0], n[1], n[2], n[3]};
    case 5:
      return {n[0], n[1], n[2], n[3], n[4]};
    default:
      return {n[0], n[1], n[2], n[3], n[4], n[5]};
  }
}

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

/// Bytes of the elements; the product of the lengths may not overflow even where one of them is 0.
size_t data_bytes(const HeaderParser& parser, const Shape& shape, DType dtype) {
  int64_t bytes = static_cast<int64_t>(size_of(dtype));
  bool empty = false;
  for (int axis = 0; axis < shape.rank(); ++axis) {
    empty = empty || shape[axis] == 0;
    if (__builtin_mul_overflow(bytes, std::max<int64_t>(shape[axis], 1), &bytes)) {
      parser.fail("shape", shape.text(), "fewer than 2^63 bytes in all");
    }
  }
  return empty ? 0 : static_cast<size_t>(bytes);
}

uint32_t little_endian(std::span<const std::byte> bytes) {
  uint32_t value = 0;
  for (auto byte = bytes.rbegin(); byte != bytes.rend(); ++byte) {
    value = value << 8 | std::to_integer<uint32_t>(*byte);
  }
  return value;
}

/// From the first bytes of a file (all of them, or enough for the longest header) and its size.
Layout parse_layout(std::span<const std::byte> start, size_t file_size, std::string_view name) {
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
  HEDDLE_CHECK(header <= start.size() - preamble, "npy: ", name, ": header length: found ", header,
               "; expected at most the ", start.size() - preamble, " bytes that follow");

  HeaderParser parser(name, text.substr(preamble, header));
  const HeaderParser::Fields fields = parser.parse();
  Layout layout;
  layout.shape = *fields.shape;
  layout.dtype = element_type(parser, *fields.descr);
  layout.is_bool = fields.descr->ends_with("b1");
  HEDDLE_CHECK(!*fields.fortran_order || layout.shape.rank() < 2, "npy: ", name,
               ": fortran_order: found True for shape ", layout.shape.text(),
               "; expected False. Hint: save numpy.ascontiguousarray(x)");
  layout.data_offset = preamble + header;
  layout.data_bytes = data_bytes(parser, layout.shape, layout.dtype);
  const size_t left = file_size - layout.data_offset;
  HEDDLE_CHECK(left == layout.data_bytes, "npy: ", name, ": data: found ", left,
               " bytes after the header; expected ", layout.data_bytes, " for ",
               name_of(layout.dtype), " ", layout.shape.text(),
               left < layout.data_bytes ? " (truncated file)" : " (trailing bytes)");
  return layout;
}

void check_bools(const Tensor& tensor, const Layout& layout, std::string_view name) {
  if (!layout.is_bool) return;
  const auto* data = static_cast<const uint8_t*>(tensor.raw());
  const auto* end = data + layout.data_bytes;
  const auto* bad = std::find_if(data, end, [](uint8_t value) { return value > 1; });
  HEDDLE_CHECK(bad == end, "npy: ", name, ": data: found ", int{*bad}, " in a bool at offset ",
               layout.data_offset + static_cast<size_t>(bad - data), "; expected 0 or 1");
}

/// A file descriptor that closes itself.
class File {
 public:
  /// Without waiting, so that a pipe without a writer cannot hold the caller.
  explicit File(const std::string& path)
      : name_(path), fd_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)) {
    HEDDLE_CHECK(fd_ >= 0, "npy: ", name_,
                 ": cannot be opened: ", std::generic_category().message(errno));
  }
  ~File() { ::close(fd_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  size_t size() const {
    struct stat status {};
    HEDDLE_CHECK(::fstat(fd_, &status) == 0, "npy: ", name_, ": ",
                 std::generic_category().message(errno));
    HEDDLE_CHECK(S_ISREG(status.st_mode), "npy: ", name_, ": found ",
                 S_ISDIR(status.st_mode)    ? "a directory"
                 : S_ISFIFO(status.st_mode) ? "a pipe"
                                            : "a device or socket",
                 "; expected a regular file");
    return static_cast<size_t>(status.st_size);
  }

  void read(void* target, size_t bytes, size_t offset) const {
    auto* at = static_cast<std::byte*>(target);
    while (bytes > 0) {
      const ssize_t got = ::pread(fd_, at, bytes, static_cast<off_t>(offset));
      if (got < 0 && errno == EINTR) continue;
      HEDDLE_CHECK(got >= 0, "npy: ", name_,
                   ": cannot be read: ", std::generic_category().message(errno));
      HEDDLE_CHECK(got > 0, "npy: ", name_, ": found its end at offset ", offset, "; expected ",
                   bytes, " bytes more (was it changed while it was read?)");
      at += got;
      offset += static_cast<size_t>(got);
      bytes -= static_cast<size_t>(got);
    }
  }

 private:
  std::string name_;
  int fd_;
};

}  // namespace

Tensor read_npy(const std::string& path) {
  const File file(path);
  const size_t size = file.size();
  std::vector<std::byte> start(std::min(size, kLongestPreamble + kLongestHeader));
  file.read(start.data(), start.size(), 0);
  const Layout layout = parse_layout(start, size, path);
  Tensor tensor = Tensor::empty(layout.shape, layout.dtype);
  file.read(tensor.raw(), layout.data_bytes, layout.data_offset);
  check_bools(tensor, layout, path);
  return tensor;
}

Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name) {
  const Layout layout = parse_layout(bytes, bytes.size(), name);
  Tensor tensor = Tensor::empty(layout.shape, layout.dtype);
  if (layout.data_bytes > 0) {
    std::memcpy(tensor.raw(), bytes.data() + layout.data_offset, layout.data_bytes);
  }
  check_bools(tensor, layout, name);
  return tensor;
}

}  // namespace heddle::io
