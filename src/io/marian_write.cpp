// Writes Marian's binary model files.
#include "heddle/base/error.h"
#include "heddle/io/atomic_file.h"
#include "heddle/io/marian_binary.h"
#include "heddle/io/quoted.h"

namespace heddle::io {

namespace {

constexpr uint64_t kAlignment = 256;

uint64_t type_id(const NamedTensor& named) {
  if (named.tensor.dtype() == DType::f32) return 0x0404;
  if (named.tensor.dtype() == DType::f16) return 0x0402;
  HEDDLE_CHECK(named.tensor.dtype() == DType::i8, "marian: ", quoted(named.name), ": found ",
               name_of(named.tensor.dtype()), "; expected f32, f16 or i8");
  return 0x0101;
}

uint64_t bytes_of(const Tensor& tensor) {
  return static_cast<uint64_t>(tensor.elements()) * size_of(tensor.dtype());
}

/// Every blob but the last fills whole units, so that each begins at a multiple.
uint64_t padding_after(uint64_t bytes) { return (kAlignment - bytes % kAlignment) % kAlignment; }

}  // namespace

void write_marian_binary(const std::string& path, const std::vector<NamedTensor>& tensors) {
  AtomicFile file(path);
  file.number(uint64_t{1});
  file.number(uint64_t{tensors.size()});
  for (const NamedTensor& named : tensors) {
    HEDDLE_CHECK(named.tensor.is_contiguous(), "marian: ", quoted(named.name),
                 ": found strides; expected a contiguous tensor");
    const bool last = &named == &tensors.back();
    const uint64_t bytes = bytes_of(named.tensor);
    file.number(uint64_t{named.name.size() + 1});
    file.number(type_id(named));
    file.number(static_cast<uint64_t>(named.tensor.rank()));
    file.number(bytes + (last ? 0 : padding_after(bytes)));
  }
  for (const NamedTensor& named : tensors) {
    file.write(named.name);
    file.number(uint8_t{0});
  }
  for (const NamedTensor& named : tensors) {
    for (int axis = 0; axis < named.tensor.rank(); ++axis) {
      file.number(static_cast<int32_t>(named.tensor.dim(axis)));
    }
  }
  const std::string zeros(kAlignment, '\0');
  const uint64_t padding = padding_after(file.size() + sizeof(uint64_t));
  file.number(padding);
  file.write(std::string_view(zeros).substr(0, padding));
  for (const NamedTensor& named : tensors) {
    const uint64_t bytes = bytes_of(named.tensor);
    file.write({static_cast<const std::byte*>(named.tensor.raw()), static_cast<size_t>(bytes)});
    const bool last = &named == &tensors.back();
    file.write(std::string_view(zeros).substr(0, last ? 0 : padding_after(bytes)));
  }
  file.commit();
}

}  // namespace heddle::io
