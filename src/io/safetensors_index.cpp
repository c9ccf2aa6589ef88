// Models cut into several safetensors files, and the writer of single ones.
#include <algorithm>
#include <set>
#include <utility>

#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/json.h"
#include "heddle/io/paths.h"
#include "heddle/io/quoted.h"
#include "heddle/io/safetensors.h"
#include "heddle/io/value.h"

namespace heddle::io {

namespace {

constexpr uint64_t kLongestIndex = uint64_t{64} << 20;
constexpr size_t kMostShards = 4096;
constexpr size_t kDataAlignment = 64;

/// File of each tensor by its name, as the index has it.
std::map<std::string, std::string> read_index(const std::string& path) {
  const Value value = parse_json(read_text(path, kLongestIndex), path);
  const Field map = Field(value, str("safetensors: ", path))["weight_map"];
  std::map<std::string, std::string> index;
  for (const Value::Member& member : map.members()) {
    const Field file(member.value, str(map.place(), ": ", quoted(member.key)));
    if (!stays_below(file.text()) || file.text().find('/') != std::string::npos) {
      file.fail("the name of a file beside the index");
    }
    index.emplace(member.key, file.text());
  }
  return index;
}

std::string_view type_name(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return "F64";
    case DType::f32:
      return "F32";
    case DType::f16:
      return "F16";
    case DType::bf16:
      return "BF16";
    case DType::i64:
      return "I64";
    case DType::i32:
      return "I32";
    case DType::i8:
      return "I8";
    case DType::u8:
      return "U8";
  }
  return "U8";
}

uint64_t bytes_of(const Tensor& tensor) {
  return static_cast<uint64_t>(tensor.elements()) * size_of(tensor.dtype());
}

Value entry_of(const Tensor& tensor, uint64_t begin) {
  Value::List shape;
  for (int axis = 0; axis < tensor.rank(); ++axis) shape.emplace_back(tensor.dim(axis));
  Value entry;
  entry.set("dtype", std::string(type_name(tensor.dtype())));
  entry.set("shape", std::move(shape));
  entry.set("data_offsets", Value::List{Value(static_cast<int64_t>(begin)),
                                        Value(static_cast<int64_t>(begin + bytes_of(tensor)))});
  return entry;
}

}  // namespace

SafetensorsModel::SafetensorsModel(const std::string& path) {
  if (!path.ends_with(".json")) {
    files_.emplace_back(Source(path));
    return;
  }
  const std::map<std::string, std::string> index = read_index(path);
  std::set<std::string> shards;
  for (const auto& [tensor, file] : index) shards.insert(file);
  HEDDLE_CHECK(shards.size() <= kMostShards, "safetensors: ", path, ": weight_map: found ",
               shards.size(), " files; expected at most ", kMostShards);
  size_t found = 0;
  for (const std::string& shard : shards) {
    const std::string file = join_path(folder_of(path), shard);
    HEDDLE_CHECK(exists(file), "safetensors: ", path, ": weight_map: found the shard ",
                 quoted(shard),
                 "; expected it beside the index. Hint: the download may have "
                 "stopped early");
    files_.emplace_back(Source(file));
    for (const TensorEntry& tensor : files_.back().tensors()) {
      const auto listed = index.find(tensor.name);
      HEDDLE_CHECK(listed != index.end() && listed->second == shard, "safetensors: ", path,
                   ": weight_map: found ", quoted(tensor.name), " in ", quoted(shard),
                   "; expected it ",
                   listed == index.end() ? "nowhere" : str("in ", quoted(listed->second)));
      ++found;
    }
  }
  if (found == index.size()) return;
  for (const auto& [name, shard] : index) {  // one is missing: which?
    const std::string& tensor = name;
    const auto file = static_cast<size_t>(std::distance(shards.begin(), shards.find(shard)));
    const auto& tensors = files_[file].tensors();
    HEDDLE_CHECK(std::any_of(tensors.begin(), tensors.end(),
                             [&](const TensorEntry& entry) { return entry.name == tensor; }),
                 "safetensors: ", path, ": weight_map: found no ", quoted(tensor), " in ",
                 quoted(shard), "; expected it there");
  }
}

void write_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                       const Metadata& metadata, FileOperations& files) {
  // Wide elements first, so that each tensor is aligned to its element.
  std::vector<const std::pair<const std::string, Tensor>*> order;
  for (const auto& named : tensors) order.push_back(&named);
  std::stable_sort(order.begin(), order.end(), [](const auto* a, const auto* b) {
    return size_of(a->second.dtype()) > size_of(b->second.dtype());
  });
  Value header{Value::Map{}};
  if (!metadata.empty()) {
    Value texts;
    for (const auto& [key, text] : metadata) texts.set(key, text);
    header.set(std::string("__metadata__"), std::move(texts));
  }
  uint64_t begin = 0;
  for (const auto* named : order) {
    HEDDLE_CHECK(named->second.is_contiguous(), "safetensors: ", path, ": ", quoted(named->first),
                 ": found strides; expected a contiguous tensor");
    header.map()->push_back({named->first, entry_of(named->second, begin)});
    begin += bytes_of(named->second);
  }
  std::string text = to_json(header);
  text.append((kDataAlignment - (8 + text.size()) % kDataAlignment) % kDataAlignment, ' ');

  AtomicFile file(path, files);
  file.number(static_cast<uint64_t>(text.size()));
  file.write(text);
  for (const auto* named : order) {
    file.write({static_cast<const std::byte*>(named->second.raw()),
                static_cast<size_t>(bytes_of(named->second))});
  }
  file.commit();
}

}  // namespace heddle::io
