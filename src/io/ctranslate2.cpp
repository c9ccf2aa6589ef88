#include "heddle/io/ctranslate2.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/byte_reader.h"
#include "heddle/io/quoted.h"

namespace heddle::io {

namespace {

constexpr std::string_view kFormat = "ctranslate2";
constexpr uint32_t kVersion = 6;
constexpr uint64_t kSmallestVariable = 2 + 2 + 1 + 1 + 4;

struct ElementType {
  std::string_view name;
  DType dtype;
  uint64_t bytes;
};

// In the order of the ids.
constexpr std::array<ElementType, 6> kTypes{{{"float32", DType::f32, 4},
                                             {"int8", DType::i8, 1},
                                             {"int16", DType::u8, 2},
                                             {"int32", DType::i32, 4},
                                             {"float16", DType::f16, 2},
                                             {"bfloat16", DType::bf16, 2}}};

std::string read_string(ByteReader& reader, std::string_view field) {
  const uint64_t length = reader.number<uint16_t>(str(field, " length"));
  if (length < 2) reader.fail(str(field, " length"), str(length), "at least 2, with the NUL");
  std::string text = reader.text(length, field);
  if (text.back() != '\0') reader.fail(field, quoted(text), "a text that ends in NUL");
  text.pop_back();
  if (text.find('\0') != text.npos) reader.fail(field, quoted(text), "a text without NUL");
  return text;
}

Shape read_shape(ByteReader& reader, std::string_view name) {
  const std::string field = str("shape of ", quoted(name));
  const auto rank = reader.number<uint8_t>(field);
  if (rank > Shape::kMaxRank) {
    reader.fail(field, str("rank ", int{rank}), str("at most ", Shape::kMaxRank));
  }
  int64_t lengths[Shape::kMaxRank] = {};
  for (int axis = 0; axis < rank; ++axis) lengths[axis] = reader.number<uint32_t>(field);
  return shape_of({lengths, size_t{rank}});
}

/// Bytes of the elements; nothing when they overflow.
std::optional<uint64_t> bytes_of(const Shape& shape, const ElementType& type) {
  const std::optional<uint64_t> elements = checked_bytes(shape, DType::u8);
  uint64_t bytes = 0;
  if (!elements || __builtin_mul_overflow(*elements, type.bytes, &bytes)) return std::nullopt;
  return bytes;
}

void check_version(ByteReader& reader) {
  const auto version = reader.number<uint32_t>("version");
  if (version >= 1 && version < kVersion) {
    reader.fail("version", str(version, ", a file of an earlier CTranslate2"),
                str(kVersion, ". Hint: convert the original model again with CTranslate2 4"));
  }
  if (version != kVersion) reader.fail("version", str(version), str(kVersion));
}

}  // namespace

bool Ctranslate2File::recognises(const Source& source) {
  if (source.size() < 12) return false;
  unsigned char start[12];
  source.read(start, sizeof start, 0);
  uint32_t version = 0;
  std::memcpy(&version, start, sizeof version);
  const uint32_t length = start[4] | uint32_t{start[5]} << 8;
  // Version 1 has no spec name, but a count; Marian's u64 version 1 has zeros there.
  return version >= 1 && version <= kVersion && length != 0;
}

Ctranslate2File::Ctranslate2File(Source source) : source_(std::move(source)) {
  ByteReader reader(source_, kFormat);
  check_version(reader);
  spec_ = read_string(reader, "spec");
  revision_ = reader.number<uint32_t>("revision");
  read_variables(reader);
  read_aliases(reader);
  if (reader.remaining() > 0) {
    reader.skip(0, "end");
    reader.fail("end", str(reader.remaining(), " bytes after the aliases"), "none");
  }
}

void Ctranslate2File::read_variables(ByteReader& reader) {
  const auto count = reader.number<uint32_t>("variable count");
  const uint64_t most = std::min(kMostTensors, reader.remaining() / kSmallestVariable);
  if (count > most) reader.fail("variable count", str(count), str("at most ", most));
  variables_.reserve(count);
  for (uint32_t i = 0; i < count; ++i) {
    Ctranslate2Variable variable;
    variable.name = read_string(reader, "variable name");
    const std::string field = quoted(variable.name);
    if (!by_name_.emplace(variable.name, variables_.size()).second) {
      reader.fail("variable name", str(field, " twice"), "it once");
    }
    variable.shape = read_shape(reader, variable.name);
    const auto id = reader.number<uint8_t>(str("type of ", field));
    if (id >= kTypes.size()) {
      reader.fail(str("type of ", field), str(int{id}), str("0 … ", kTypes.size() - 1));
    }
    variable.stored = static_cast<Ctranslate2Type>(id);
    variable.type = kTypes[id].name;
    variable.dtype = kTypes[id].dtype;
    const std::optional<uint64_t> bytes = bytes_of(variable.shape, kTypes[id]);
    const uint64_t found = reader.number<uint32_t>(str("bytes of ", field));
    if (!bytes || *bytes != found) {
      reader.fail(str("bytes of ", field), str(found),
                  bytes ? str(*bytes, " for ", variable.type, " ", variable.shape.text())
                        : str("fewer than 2^63, which ", variable.shape.text(), " exceeds"));
    }
    variable.offset = reader.offset();
    variable.bytes = found;
    reader.skip(found, str("elements of ", field));
    variables_.push_back(std::move(variable));
  }
}

void Ctranslate2File::read_aliases(ByteReader& reader) {
  const auto count = reader.number<uint32_t>("alias count");
  const uint64_t most = std::min(kMostTensors, reader.remaining() / 8);
  if (count > most) reader.fail("alias count", str(count), str("at most ", most));
  for (uint32_t i = 0; i < count; ++i) {
    std::string alias = read_string(reader, "alias");
    if (by_name_.contains(alias)) {
      reader.fail("alias", str(quoted(alias), ", which is a variable"), "a name of its own");
    }
    const std::string name = read_string(reader, "aliased name");
    // A variable, not another alias: so there are no cycles.
    if (!by_name_.contains(name)) {
      reader.fail(str("alias ", quoted(alias)), str("the name ", quoted(name)),
                  "that of a variable");
    }
    if (!aliases_.emplace(alias, name).second) {
      reader.fail("alias", str(quoted(alias), " twice"), "it once");
    }
  }
}

const Ctranslate2Variable* Ctranslate2File::find(std::string_view name) const {
  if (const auto alias = aliases_.find(name); alias != aliases_.end()) name = alias->second;
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &variables_[found->second];
}

Tensor Ctranslate2File::read(const Ctranslate2Variable& variable) const {
  if (variable.stored != Ctranslate2Type::i16) {
    return read_tensor(source_, variable.shape, variable.dtype, variable.offset);
  }
  const auto count = static_cast<size_t>(variable.bytes / 2);
  std::vector<int16_t> elements(count);
  source_.read(elements.data(), variable.bytes, variable.offset);
  Tensor tensor = Tensor::empty(variable.shape, DType::f32);
  std::copy(elements.begin(), elements.end(), tensor.data<float>());
  return tensor;
}

namespace {

void write_string(AtomicFile& file, std::string_view text) {
  HEDDLE_CHECK(!text.empty() && text.size() < 0xffff && text.find('\0') == text.npos,
               "ctranslate2: found the name ", quoted(text), " of ", text.size(),
               " bytes; expected 1 … 65534");
  file.number(static_cast<uint16_t>(text.size() + 1));
  file.write(text);
  file.number(uint8_t{0});
}

uint8_t type_id(DType dtype, std::string_view name) {
  for (size_t id = 0; id < kTypes.size(); ++id) {
    if (kTypes[id].dtype == dtype && dtype != DType::u8) return static_cast<uint8_t>(id);
  }
  detail::throw_error(str("ctranslate2: ", quoted(name), ": found ", name_of(dtype),
                          "; expected f32, f16, bf16, i8 or i32"));
}

void write_variable(AtomicFile& file, const std::string& name, const Ctranslate2Output& value) {
  write_string(file, name);
  if (!value.tensor.defined()) {
    file.number(uint8_t{0});
    file.number(static_cast<uint8_t>(Ctranslate2Type::i16));
    file.number(uint32_t{sizeof(int16_t)});
    file.number(value.number);
    return;
  }
  const Tensor& tensor = value.tensor;
  const uint64_t bytes = static_cast<uint64_t>(tensor.elements()) * size_of(tensor.dtype());
  HEDDLE_CHECK(tensor.is_contiguous() && bytes <= UINT32_MAX, "ctranslate2: ", quoted(name),
               ": found ", bytes, " bytes; expected a contiguous tensor below 4 GiB");
  file.number(static_cast<uint8_t>(tensor.rank()));
  for (int axis = 0; axis < tensor.rank(); ++axis) {
    file.number(static_cast<uint32_t>(tensor.dim(axis)));
  }
  file.number(type_id(tensor.dtype(), name));
  file.number(static_cast<uint32_t>(bytes));
  file.write({static_cast<const std::byte*>(tensor.raw()), static_cast<size_t>(bytes)});
}

}  // namespace

void write_ctranslate2(const std::string& path, std::string_view spec, uint32_t revision,
                       const std::map<std::string, Ctranslate2Output>& variables,
                       const std::map<std::string, std::string>& aliases) {
  AtomicFile file(path);
  file.number(kVersion);
  write_string(file, spec);
  file.number(revision);
  file.number(static_cast<uint32_t>(variables.size()));
  for (const auto& [name, value] : variables) write_variable(file, name, value);
  file.number(static_cast<uint32_t>(aliases.size()));
  for (const auto& [alias, name] : aliases) {
    write_string(file, alias);
    write_string(file, name);
  }
  file.commit();
}

}  // namespace heddle::io
