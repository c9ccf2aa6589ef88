// Fuzz target: the reader of .npy files. What is refused must be refused with heddle::Error; what
// is accepted must hold exactly the bytes that end the input.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

#include "heddle/base/error.h"
#include "heddle/io/npy.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const heddle::Tensor tensor = heddle::io::parse_npy(std::as_bytes(std::span(data, size)));
    const size_t bytes = static_cast<size_t>(tensor.elements()) * heddle::size_of(tensor.dtype());
    const bool same = bytes <= size &&
                      (bytes == 0 || std::memcmp(tensor.raw(), data + (size - bytes), bytes) == 0);
    if (!same) {
      std::fprintf(stderr, "npy: the tensor does not hold the bytes of the file\n");
      std::abort();
    }
  } catch (const heddle::Error&) {
    // refused: fine
  }
  return 0;
}
