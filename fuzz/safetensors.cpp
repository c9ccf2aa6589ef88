// Fuzz target: the reader of safetensors files. What is refused must be refused with heddle::Error;
// every tensor of what is accepted must lie inside the input.
#include "heddle/io/safetensors.h"
#include "fuzz/source_of.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using File = heddle::io::SafetensorsFile;
  return heddle::fuzz::read_all<File>(
      data, size, [](const File& file) -> const auto& { return file.tensors(); });
}
