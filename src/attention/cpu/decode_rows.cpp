#include "heddle/attention/cpu/decode_rows.h"

#include <algorithm>
#include <vector>

#include "heddle/attention/attention.h"
#include "heddle/attention/cpu/tables.h"
#include "heddle/base/error.h"

namespace heddle::attention {

namespace {

bool processor_has(std::string_view name) {
  if (name == "avx512") return cpu::avx512_kernels() != nullptr;
  if (name == "avx2") return cpu::avx2_kernels() != nullptr;
  return name == "portable";
}

cpu::DecodeRows kernel_for(std::string_view name) {
  struct Row {
    std::string_view name;
    cpu::DecodeRows decode;
  };
  static const Row kRows[] = {
#if defined(__x86_64__)
    {"avx512", cpu::kDecodeRowsAvx512},
    {"avx2", cpu::kDecodeRowsAvx2},
#endif
    {"portable", cpu::kDecodeRowsPortable},
  };
  for (const Row& row : kRows) {
    if (name.empty() ? processor_has(row.name) : row.name == name) {
      HEDDLE_CHECK(processor_has(name.empty() ? row.name : name),
                   "decode: this processor cannot run \"", name, "\"");
      return row.decode;
    }
  }
  detail::throw_error(
      str("decode: no kernel named \"", name, "\"; expected avx512, avx2 or portable"));
}

}  // namespace

void decode(const RowDecode& rows, std::string_view instructions) {
  HEDDLE_CHECK(rows.begin.size() == rows.length.size(), "decode: ", rows.begin.size(),
               " begins and ", rows.length.size(), " lengths");
  HEDDLE_CHECK(rows.head_dim >= 1 && rows.head_dim <= kMaxHeadDim, "decode: head dim ",
               rows.head_dim, "; expected 1 … ", kMaxHeadDim);
  HEDDLE_CHECK(rows.kv_heads >= 1 && rows.heads % rows.kv_heads == 0, "decode: ", rows.heads,
               " heads over ", rows.kv_heads, " key/value heads; expected a multiple");
  HEDDLE_CHECK(rows.dtype == DType::f32 || rows.dtype == DType::bf16, "decode: keys of ",
               name_of(rows.dtype), "; expected f32 or bf16");
  int32_t longest = 0;
  for (const int32_t length : rows.length) longest = std::max(longest, length);
  std::vector<float> scores(static_cast<size_t>(longest + 2 * cpu::kMaxLanes));
  kernel_for(instructions)(rows, scores.data());
}

}  // namespace heddle::attention
