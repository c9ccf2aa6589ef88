#include "heddle/io/gguf.h"

#include <algorithm>
#include <bit>
#include <numeric>
#include <optional>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/quoted.h"

namespace heddle::io {

namespace {

constexpr std::string_view kFormat = "gguf";
constexpr std::string_view kMagic = "GGUF";
constexpr std::string_view kAlignment = "general.alignment";
constexpr uint64_t kSmallestAlignment = 8;
constexpr uint64_t kLargestAlignment = uint64_t{1} << 20;
constexpr uint64_t kSmallestPair = 8 + 1 + 4 + 1;
constexpr uint64_t kSmallestEntry = 8 + 1 + 4 + 4 + 8;
constexpr uint64_t kLongestTensorName = 64;  // of the format
constexpr uint32_t kMostAxes = 4;            // of the format

uint32_t read_version(ByteReader& reader) {
  const std::string magic = reader.text(kMagic.size(), "magic");
  if (magic != kMagic) reader.fail("magic", quoted(magic), quoted(kMagic));
  const auto version = reader.number<uint32_t>("version");
  if (version == 2 || version == 3) return version;
  if (version == 1) {
    reader.fail("version", "1, of the year 2023",
                "2 or 3. Hint: convert the original model again with llama.cpp");
  }
  if (version != 0 && (version & 0xffff) == 0) {
    reader.fail("version", str(__builtin_bswap32(version), " in big-endian order"),
                "a little-endian file. Hint: llama.cpp's gguf_convert_endian.py makes one");
  }
  if (version > 3) reader.fail("version", str(version, ", which is later"), "2 or 3");
  reader.fail("version", str(version), "2 or 3");
}

uint64_t read_count(ByteReader& reader, std::string_view field, uint64_t smallest) {
  const auto count = reader.number<uint64_t>(field);
  const uint64_t most = std::min(kMostGgufEntries, reader.remaining() / smallest);
  if (count > most) {
    reader.fail(field, str(count),
                str("at most ", most, ", as ", reader.remaining(), " bytes follow"));
  }
  return count;
}

uint64_t aligned(uint64_t offset, uint64_t alignment) {
  return offset + (alignment - offset % alignment) % alignment;
}

/// The format has the innermost axis first; ours is last.
Shape read_shape(ByteReader& reader, const std::string& field) {
  const auto rank = reader.number<uint32_t>(field);
  if (rank > kMostAxes) reader.fail(field, str("rank ", rank), str("at most ", kMostAxes));
  int64_t lengths[kMostAxes] = {};
  for (uint32_t axis = 0; axis < rank; ++axis) {
    const auto length = reader.number<uint64_t>(field);
    if (length > INT64_MAX) reader.fail(field, str("the length ", length), "less than 2^63");
    lengths[rank - 1 - axis] = static_cast<int64_t>(length);
  }
  return shape_of({lengths, rank});
}

const GgmlType& read_type(ByteReader& reader, const std::string& field) {
  const auto id = reader.number<uint32_t>(field);
  const GgmlType* type = ggml_type(id);
  if (type == nullptr) reader.fail(field, str("the type ", id), "a type that the format has");
  return *type;
}

/// Name, shape, type and bytes of an entry; its offset is still to be read.
GgufTensor read_entry(ByteReader& reader) {
  GgufTensor tensor;
  tensor.header_offset = reader.offset();
  tensor.name = read_gguf_name(reader, "tensor name", kLongestTensorName);
  const std::string field = quoted(tensor.name);
  tensor.shape = read_shape(reader, str(field, ": shape"));
  // No type has more than 8 bytes a value, so nothing below can wrap.
  const std::optional<uint64_t> doubles = checked_bytes(tensor.shape, DType::f64);
  if (!doubles) reader.fail(str(field, ": shape"), tensor.shape.text(), "fewer than 2^60 elements");
  const GgmlType& type = read_type(reader, str(field, ": type"));
  const int rank = tensor.shape.rank();
  const uint64_t row = rank == 0 ? 1 : static_cast<uint64_t>(tensor.shape[rank - 1]);
  if (row % type.block_values != 0) {
    reader.fail(str(field, ": type"), str(type.name, " with rows of ", row),
                str("rows of a multiple of ", type.block_values));
  }
  tensor.stored = &type;
  tensor.type = type.name;
  tensor.dtype = type.to_floats != nullptr ? DType::f32 : DType::u8;
  tensor.bytes = *doubles / sizeof(double) / type.block_values * type.block_bytes;
  return tensor;
}

/// Indices of the items in the order of their names. Not a hash table: the names are the file's.
template <typename Items, typename Name>
std::vector<uint32_t> sorted_by(const Items& items, Name name) {
  std::vector<uint32_t> order(items.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    const int sign = (items[a].*name).compare(items[b].*name);
    return sign != 0 ? sign < 0 : a < b;
  });
  return order;
}

/// The second of two items of one name, or nullptr.
template <typename Items, typename Name>
const auto* duplicate_in(const Items& items, const std::vector<uint32_t>& order, Name name) {
  const auto same = [&](uint32_t a, uint32_t b) { return items[a].*name == items[b].*name; };
  const auto found = std::adjacent_find(order.begin(), order.end(), same);
  return found == order.end() ? nullptr : &items[*(found + 1)];
}

template <typename Items, typename Name>
const auto* find_in(const Items& items, const std::vector<uint32_t>& order, Name name,
                    std::string_view wanted) {
  const auto before = [&](uint32_t i, std::string_view text) { return items[i].*name < text; };
  const auto found = std::lower_bound(order.begin(), order.end(), wanted, before);
  return found == order.end() || items[*found].*name != wanted ? nullptr : &items[*found];
}

void check_readable(const Source& source, const GgufTensor& tensor) {
  if (tensor.stored->to_floats != nullptr) return;
  fail_at(kFormat, source, quoted(tensor.name), str("the type ", tensor.type),
          str(readable_ggml_types(), ". Hint: llama.cpp's llama-quantize makes Q8_0 or F16"),
          tensor.header_offset);
}

}  // namespace

bool GgufFile::recognises(const Source& source) {
  if (source.size() < kMagic.size()) return false;
  std::string start(kMagic.size(), '\0');
  source.read(start.data(), start.size(), 0);
  return start == kMagic;
}

GgufFile::GgufFile(Source source) : source_(std::move(source)) {
  ByteReader reader(source_, kFormat);
  version_ = read_version(reader);
  const uint64_t tensors = read_count(reader, "tensor count", kSmallestEntry);
  const uint64_t pairs = read_count(reader, "metadata count", kSmallestPair);
  metadata_ = read_gguf_pairs(reader, pairs);
  keys_sorted_ = sorted_by(metadata_, &GgufPair::key);
  if (const auto* pair = duplicate_in(metadata_, keys_sorted_, &GgufPair::key)) {
    fail_at(kFormat, source_, "key", str(quoted(pair->key), " twice"), "it once", pair->offset);
  }
  if (const GgufPair* pair = find_key(kAlignment)) {
    const auto* value = std::get_if<uint64_t>(&pair->value);
    if (value == nullptr || pair->type != GgufType::uint32 || !std::has_single_bit(*value) ||
        *value < kSmallestAlignment || *value > kLargestAlignment) {
      fail(*pair, str("a uint32 power of two of ", kSmallestAlignment, " … ", kLargestAlignment));
    }
    alignment_ = *value;
  }
  read_entries(reader, tensors);
  place_data(reader.offset());
}

void GgufFile::read_entries(ByteReader& reader, uint64_t count) {
  tensors_.reserve(static_cast<size_t>(count));
  uint64_t end = 0;  // of the tensor before, in the data
  for (uint64_t i = 0; i < count; ++i) {
    GgufTensor tensor = read_entry(reader);
    const std::string field = quoted(tensor.name);
    if (tensor.bytes > source_.size() - std::min(end, source_.size())) {
      reader.fail(str(field, ": data"), str(source_.size(), " bytes in the file"),
                  str("at least ", tensor.bytes, " more than the ", end, " of the tensors before"));
    }
    tensor.offset = reader.number<uint64_t>(str(field, ": offset"));
    if (tensor.offset != end) {
      reader.fail(str(field, ": offset"), str(tensor.offset),
                  str(end, ", where the tensor before ends in steps of ", alignment_));
    }
    end = aligned(end + tensor.bytes, alignment_);
    tensors_.push_back(std::move(tensor));
  }
  names_sorted_ = sorted_by(tensors_, &GgufTensor::name);
  if (const auto* tensor = duplicate_in(tensors_, names_sorted_, &GgufTensor::name)) {
    fail_at(kFormat, source_, "tensor name", str(quoted(tensor->name), " twice"), "it once",
            tensor->header_offset);
  }
}

void GgufFile::place_data(uint64_t header_end) {
  const uint64_t begin = aligned(header_end, alignment_);
  uint64_t end = begin;
  for (GgufTensor& tensor : tensors_) {
    end = begin + tensor.offset + tensor.bytes;
    tensor.offset = tensor.bytes > 0 ? end - tensor.bytes : 0;  // nothing lies nowhere
    if (tensor.bytes > 0 && end > source_.size()) {
      fail_at(kFormat, source_, str(quoted(tensor.name), ": data"),
              str(source_.size(), " bytes in the file"),
              str("at least ", end, ". Hint: the download may have stopped early"), tensor.offset);
    }
  }
  // What pads the last tensor may be there or not.
  end = aligned(end, alignment_);
  if (source_.size() > end) {
    fail_at(kFormat, source_, "end", str(source_.size() - end, " bytes after the last tensor"),
            "none", end);
  }
}

const GgufPair* GgufFile::find_key(std::string_view key) const {
  return find_in(metadata_, keys_sorted_, &GgufPair::key, key);
}

const GgufTensor* GgufFile::find_tensor(std::string_view name) const {
  return find_in(tensors_, names_sorted_, &GgufTensor::name, name);
}

void GgufFile::fail(const GgufPair& pair, std::string_view expected) const {
  fail_at(kFormat, source_, quoted(pair.key), pair.description(), expected, pair.offset);
}

const GgufPair& GgufFile::pair_of(std::string_view key) const {
  const GgufPair* pair = find_key(key);
  HEDDLE_CHECK(pair != nullptr, kFormat, ": ", source_.name(), ": ", quoted(key),
               ": found nothing; expected this key in the metadata");
  return *pair;
}

int64_t GgufFile::integer(std::string_view key, int64_t low, int64_t high) const {
  const GgufPair& pair = pair_of(key);
  if (const auto* value = std::get_if<int64_t>(&pair.value)) {
    if (*value >= low && *value <= high) return *value;
  } else if (const auto* natural = std::get_if<uint64_t>(&pair.value)) {
    const auto number = static_cast<int64_t>(*natural);
    if (*natural <= INT64_MAX && number >= low && number <= high) return number;
  }
  fail(pair, str("an integer of ", low, " … ", high));
}

double GgufFile::number(std::string_view key) const {
  const GgufPair& pair = pair_of(key);
  if (const auto* value = std::get_if<double>(&pair.value)) return *value;
  fail(pair, "a float32 or float64");
}

bool GgufFile::boolean(std::string_view key) const {
  const GgufPair& pair = pair_of(key);
  if (const auto* value = std::get_if<bool>(&pair.value)) return *value;
  fail(pair, "a bool");
}

const std::string& GgufFile::text(std::string_view key) const {
  const GgufPair& pair = pair_of(key);
  if (const auto* value = std::get_if<std::string>(&pair.value)) return *value;
  fail(pair, "a string");
}

const GgufArray& GgufFile::array_of(std::string_view key, GgufType type) const {
  const GgufPair& pair = pair_of(key);
  const auto* value = std::get_if<GgufArray>(&pair.value);
  if (value == nullptr || value->type != type) fail(pair, str("an array of ", name_of(type)));
  return *value;
}

GgufTexts GgufFile::texts(std::string_view key) const {
  return GgufTexts(source_, array_of(key, GgufType::string), key);
}

void GgufFile::read_blocks(const GgufTensor& tensor, uint64_t begin, uint64_t end,
                           float* values) const {
  constexpr uint64_t kPiece = 65536;
  const GgmlType& type = *tensor.stored;
  std::vector<std::byte> piece(static_cast<size_t>(kPiece / type.block_bytes * type.block_bytes));
  for (uint64_t at = begin; at < end; at += piece.size()) {
    piece.resize(static_cast<size_t>(std::min<uint64_t>(piece.size(), end - at)));
    source_.read(piece.data(), piece.size(), tensor.offset + at);
    if (const auto bad = blocks_to_floats(type, piece, values)) {
      const uint64_t offset = tensor.offset + at + *bad * type.block_bytes;
      fail_at(kFormat, source_, quoted(tensor.name),
              str("a NaN or infinite scale in a block of ", type.name), "finite scales", offset);
    }
    values += piece.size() / type.block_bytes * type.block_values;
  }
}

Tensor GgufFile::read(const GgufTensor& tensor) const {
  check_readable(source_, tensor);
  Tensor values = Tensor::empty(tensor.shape, DType::f32);
  read_blocks(tensor, 0, tensor.bytes, values.data<float>());
  return values;
}

Tensor GgufFile::read_rows(const GgufTensor& tensor, int64_t begin, int64_t end) const {
  check_readable(source_, tensor);
  const int rank = tensor.shape.rank();
  const int64_t width = rank == 0 ? 1 : tensor.shape[rank - 1];
  const int64_t rows = width == 0 ? 0 : tensor.shape.elements() / width;
  HEDDLE_CHECK(0 <= begin && begin <= end && end <= rows, kFormat, ": ", source_.name(), ": ",
               quoted(tensor.name), ": found rows ", begin, " … ", end, "; expected a part of ",
               rows);
  const uint64_t row =
      static_cast<uint64_t>(width) / tensor.stored->block_values * tensor.stored->block_bytes;
  Tensor values = Tensor::empty({end - begin, width}, DType::f32);  // [rows, width]
  read_blocks(tensor, static_cast<uint64_t>(begin) * row, static_cast<uint64_t>(end) * row,
              values.data<float>());
  return values;
}

}  // namespace heddle::io
