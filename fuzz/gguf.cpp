// Fuzz target: the reader of GGUF files. What is refused must be refused with heddle::Error; every
// tensor of what is accepted must lie inside the input, and so must every array of the metadata.
#include "heddle/io/gguf.h"
#include "fuzz/source_of.h"

namespace {

using heddle::fuzz::require;
using heddle::io::GgufArray;
using heddle::io::GgufFile;
using heddle::io::GgufPair;

void read_metadata(const GgufFile& file) {
  for (const GgufPair& pair : file.metadata()) {
    require(file.find_key(pair.key) == &pair, "a key is not found");
    const auto* array = std::get_if<GgufArray>(&pair.value);
    if (array == nullptr) continue;
    const uint64_t size = file.source().size();
    require(array->offset <= size && array->bytes <= size - array->offset,
            "an array lies outside the file");
    if (array->type != heddle::io::GgufType::string) continue;
    require(file.texts(pair.key).size() == array->count, "an array has another length");
  }
}

/// One tensor by its rows: those that have no arithmetic are refused.
void read_tensor(const GgufFile& file, const heddle::io::GgufTensor& tensor) {
  try {
    const heddle::Tensor values = file.read(tensor);  // [shape]
    require(values.shape() == tensor.shape, "a tensor has another shape than its entry");
    if (values.elements() > 0) file.read_rows(tensor, 0, 1);
  } catch (const heddle::Error&) {
    // refused: fine
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const GgufFile file(heddle::fuzz::source_of(data, size));
    read_metadata(file);
    uint64_t total = 0;
    for (const heddle::io::GgufTensor& tensor : file.tensors()) {
      total += tensor.bytes;
      require(file.find_tensor(tensor.name) == &tensor, "a tensor is not found");
      require(tensor.offset <= size && tensor.bytes <= size - tensor.offset,
              "a tensor lies outside the file");
      read_tensor(file, tensor);
    }
    require(total <= size, "the tensors have more bytes than the file");
  } catch (const heddle::Error&) {
    // refused: fine
  }
  return 0;
}
