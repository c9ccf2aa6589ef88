#include "heddle/train/trainable.h"

#include <cstring>
#include <map>

#include "heddle/base/error.h"
#include "heddle/io/safetensors.h"

namespace heddle::train {

void save_values(std::span<const Slot> slots, const std::string& path, io::FileOperations& files) {
  std::map<std::string, Tensor> tensors;
  for (const Slot& slot : slots) tensors.emplace(slot.name, slot.value);
  io::write_safetensors(path, tensors, {}, files);
}

std::vector<Tensor> read_values(const std::vector<model::ParameterShape>& shapes,
                                const std::string& path) {
  const io::SafetensorsFile file{io::Source(path)};
  std::map<std::string, const io::TensorEntry*> entries;
  for (const auto& entry : file.tensors()) entries.emplace(entry.name, &entry);
  HEDDLE_CHECK(entries.size() == shapes.size(), path, ": found ", entries.size(),
               " tensors; expected ", shapes.size());
  std::vector<Tensor> values;
  for (const model::ParameterShape& expected : shapes) {
    const auto found = entries.find(expected.name);
    HEDDLE_CHECK(found != entries.end(), path, ": found no ", expected.name);
    values.push_back(file.read(*found->second));
    const Tensor& read = values.back();
    HEDDLE_CHECK(read.dtype() == expected.dtype && read.shape() == expected.shape, path, ": ",
                 expected.name, ": found ", name_of(read.dtype()), " ", read.shape().text(),
                 "; expected ", name_of(expected.dtype), " ", expected.shape.text());
  }
  return values;
}

void load_values(std::span<Slot> slots, const std::string& path) {
  std::vector<model::ParameterShape> shapes;
  for (const Slot& slot : slots) {
    shapes.push_back({slot.name, slot.value.shape(), slot.value.dtype()});
  }
  const std::vector<Tensor> values = read_values(shapes, path);
  for (size_t i = 0; i < slots.size(); ++i) {
    std::memcpy(slots[i].value.raw(), values[i].raw(),
                static_cast<size_t>(values[i].elements()) * size_of(values[i].dtype()));
  }
}

int64_t parameters_of(std::span<const Slot> slots) {
  int64_t count = 0;
  for (const Slot& slot : slots) count += slot.value.elements();
  return count;
}

}  // namespace heddle::train
