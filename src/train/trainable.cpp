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

void load_values(std::span<Slot> slots, const std::string& path) {
  const io::SafetensorsFile file{io::Source(path)};
  std::map<std::string, const io::TensorEntry*> entries;
  for (const auto& entry : file.tensors()) entries.emplace(entry.name, &entry);
  HEDDLE_CHECK(entries.size() == slots.size(), path, ": found ", entries.size(),
               " tensors; expected ", slots.size());
  for (Slot& slot : slots) {
    const auto found = entries.find(slot.name);
    HEDDLE_CHECK(found != entries.end(), path, ": found no ", slot.name);
    const Tensor read = file.read(*found->second);
    HEDDLE_CHECK(read.dtype() == slot.value.dtype() && read.shape() == slot.value.shape(), path,
                 ": ", slot.name, ": found ", name_of(read.dtype()), " ", read.shape().text(),
                 "; expected ", name_of(slot.value.dtype()), " ", slot.value.shape().text());
    std::memcpy(slot.value.raw(), read.raw(),
                static_cast<size_t>(read.elements()) * size_of(read.dtype()));
  }
}

int64_t bytes_of(std::span<const Slot> slots) {
  int64_t elements = 0;
  for (const Slot& slot : slots) elements += slot.value.elements();
  return elements * static_cast<int64_t>(sizeof(float));
}

}  // namespace heddle::train
