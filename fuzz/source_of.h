// What the targets of file formats share: the input as a file, and what acceptance must mean.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>

#include "heddle/base/error.h"
#include "heddle/io/source.h"
#include "heddle/tensor/tensor.h"

namespace heddle::fuzz {

inline io::Source source_of(const uint8_t* data, size_t size) {
  return io::Source(std::as_bytes(std::span(data, size)), "input");
}

inline void require(bool condition, const char* what) {
  if (condition) return;
  std::fprintf(stderr, "%s\n", what);
  std::abort();
}

/// Opens the input as a File and reads every tensor it lists; heddle::Error is a refusal.
template <typename File, typename List>
int read_all(const uint8_t* data, size_t size, const List& list) {
  try {
    const File file(source_of(data, size));
    uint64_t total = 0;
    for (const auto& entry : list(file)) {
      total += entry.bytes;
      require(entry.offset <= size && entry.bytes <= size - entry.offset,
              "a tensor lies outside the file");
      const Tensor tensor = file.read(entry);
      require(tensor.shape() == entry.shape, "a tensor has another shape than its entry");
    }
    require(total <= size, "the tensors have more bytes than the file");
  } catch (const Error&) {
    // refused: fine
  }
  return 0;
}

}  // namespace heddle::fuzz
