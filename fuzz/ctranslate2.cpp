// Fuzz target: the reader of CTranslate2's model.bin. What is refused must be refused with
// heddle::Error; every tensor of what is accepted must lie inside the input.
#include "heddle/io/ctranslate2.h"
#include "fuzz/source_of.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using File = heddle::io::Ctranslate2File;
  return heddle::fuzz::read_all<File>(
      data, size, [](const File& file) -> const auto& { return file.variables(); });
}
