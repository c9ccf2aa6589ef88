#include "heddle/base/dtype.h"

#include <array>

namespace heddle {

namespace {

struct Row {
  size_t size;
  std::string_view name;
};

// In the order of DType.
constexpr std::array<Row, 8> kRows = {{{8, "f64"},
                                       {4, "f32"},
                                       {2, "f16"},
                                       {2, "bf16"},
                                       {8, "i64"},
                                       {4, "i32"},
                                       {1, "i8"},
                                       {1, "u8"}}};

}  // namespace

size_t size_of(DType dtype) { return kRows[static_cast<size_t>(dtype)].size; }
std::string_view name_of(DType dtype) { return kRows[static_cast<size_t>(dtype)].name; }

}  // namespace heddle
