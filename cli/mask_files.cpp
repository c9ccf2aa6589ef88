#include "cli/mask_files.h"

#include <algorithm>
#include <limits>

#include "heddle/io/npy.h"
#include "heddle/mask/algebra.h"

namespace heddle::cli {

namespace {

/// The tensor without its batch axis, and with a head axis before the last two.
Tensor with_head_axis(const std::string& path, const Tensor& tensor, const char* expected) {
  const int rank = tensor.rank();
  const bool known = rank == 2 || rank == 3 || (rank == 4 && tensor.dim(0) == 1);
  HEDDLE_CHECK(known, path, ": found shape ", tensor.shape().text(), "; expected ", expected,
               rank == 4 ? ". Hint: a batch of several is one mask each" : "");
  const int64_t heads = rank == 2 ? 1 : tensor.dim(rank - 3);
  return tensor.reshape({heads, tensor.dim(rank - 2), tensor.dim(rank - 1)});
}

/// The same numbers as int32, each checked.
Tensor as_i32(const std::string& path, const Tensor& tensor) {
  if (tensor.dtype() == DType::i32) return tensor;
  HEDDLE_CHECK(tensor.dtype() == DType::i64, path, ": found ", name_of(tensor.dtype()),
               "; expected int32 or int64 row numbers");
  Tensor narrow = Tensor::empty(tensor.shape(), DType::i32);
  for (int64_t at = 0; at < tensor.elements(); ++at) {
    const int64_t value = tensor.data<int64_t>()[at];
    HEDDLE_CHECK(value >= 0 && value <= std::numeric_limits<int32_t>::max(), path, ": found ",
                 value, " at element ", at, "; expected a row number");
    narrow.data<int32_t>()[at] = static_cast<int32_t>(value);
  }
  return narrow;
}

template <typename T>
void mark_nonzero(const Tensor& tensor, uint8_t* marks) {
  const T* data = static_cast<const T*>(tensor.raw());
  std::transform(data, data + tensor.elements(), marks,
                 [](T value) { return static_cast<uint8_t>(value != 0); });
}

/// Nonzero elements as u8.
Tensor as_marks(const std::string& path, const Tensor& tensor) {
  if (tensor.dtype() == DType::u8) return tensor;
  Tensor marks = Tensor::empty(tensor.shape(), DType::u8);
  auto* target = static_cast<uint8_t*>(marks.raw());
  switch (tensor.dtype()) {
    case DType::i8:
      mark_nonzero<int8_t>(tensor, target);
      return marks;
    case DType::i32:
      mark_nonzero<int32_t>(tensor, target);
      return marks;
    case DType::i64:
      mark_nonzero<int64_t>(tensor, target);
      return marks;
    default:
      detail::throw_error(str(path, ": found ", name_of(tensor.dtype()),
                              "; expected bool or integers, nonzero = may look. Hint: for a bias "
                              "that is added to scores, save (bias == 0)"));
  }
}

}  // namespace

void add_file_options(const Command& command, FileOptions& options) {
  command.option("--startend", options.startend,
                 "read FlashMask's startend_row_indices from this .npy file", "FILE");
  command.option("--dense", options.dense,
                 "read a dense mask (nonzero = may look) from this .npy file", "FILE");
  command.flag("--causal", options.causal, "with --startend: the causal form, 1 or 2 columns");
  command.option("--query-length", options.query_length,
                 "with --startend: query rows (as many as keys)");
}

std::string title_of(const FileOptions& options) {
  return options.startend ? *options.startend : options.dense.value_or("");
}

BuiltMask read_mask(const FileOptions& options) {
  HEDDLE_CHECK(options.startend.has_value() != options.dense.has_value(), "mask: found ",
               options.startend ? "both --startend and --dense" : "no mask to show",
               "; expected a builder, --startend FILE or --dense FILE. Hint: heddle mask --help");
  if (options.startend) {
    const std::string& path = *options.startend;
    const Tensor indices = as_i32(
        path, with_head_axis(path, io::read_npy(path), "[heads, Sk, n] or [1, heads, Sk, n]"));
    const int64_t rows = options.query_length.value_or(indices.dim(1));
    return {masks::from_startend_row_indices(indices, rows, options.causal), {}};
  }
  HEDDLE_CHECK(!options.causal && !options.query_length, "mask: found --",
               options.causal ? "causal" : "query-length",
               " with --dense; expected it with --startend only");
  const std::string& path = *options.dense;
  const Tensor picture =
      with_head_axis(path, io::read_npy(path), "[Tq, Tk], [heads, Tq, Tk] or [1, heads, Tq, Tk]");
  return {masks::from_dense(as_marks(path, picture)), {}};
}

}  // namespace heddle::cli
