#include "heddle/attention/cuda/sm90/tensor_map.h"

#include <cudaTypedefs.h>
#include <cuda_runtime_api.h>

#include "heddle/base/error.h"

namespace heddle::attention::cuda::sm90 {

namespace {

/// The driver's encoder, found at run time so that nothing links with the driver.
PFN_cuTensorMapEncodeTiled_v12000 encoder() {
  void* address = nullptr;
  cudaDriverEntryPointQueryResult found{};
  const cudaError_t error = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &address,
                                                             12000, cudaEnableDefault, &found);
  HEDDLE_CHECK(error == cudaSuccess && found == cudaDriverEntryPointSuccess,
               "attention: the CUDA driver has no cuTensorMapEncodeTiled (",
               cudaGetErrorString(error), "); expected a driver for CUDA 12 or newer");
  return reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(address);
}

}  // namespace

CUtensorMap make_tensor_map(const TensorLayout& tensor, int box_tokens, bool half) {
  static const PFN_cuTensorMapEncodeTiled_v12000 encode = encoder();
  const cuuint64_t sizes[4] = {
      static_cast<cuuint64_t>(tensor.columns), static_cast<cuuint64_t>(tensor.tokens),
      static_cast<cuuint64_t>(tensor.heads), static_cast<cuuint64_t>(tensor.batches)};
  // The stride of an axis of length 1 is never used, but zero is refused.
  const auto bytes = [&](int64_t length, int64_t stride) {
    return static_cast<cuuint64_t>(length == 1 ? 16 : stride * 2);
  };
  const cuuint64_t strides[3] = {bytes(tensor.tokens, tensor.token_stride),
                                 bytes(tensor.heads, tensor.head_stride),
                                 bytes(tensor.batches, tensor.batch_stride)};
  const cuuint32_t box[4] = {64, static_cast<cuuint32_t>(box_tokens), 1, 1};
  const cuuint32_t steps[4] = {1, 1, 1, 1};
  CUtensorMap map;
  const CUresult result =
      encode(&map, half ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 4,
             const_cast<void*>(tensor.data), sizes, strides, box, steps,
             CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
             CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  HEDDLE_CHECK(result == CUDA_SUCCESS, "attention: found a tensor [B=", tensor.batches,
               ", T=", tensor.tokens, ", H=", tensor.heads, ", E=", tensor.columns,
               "] with strides ", tensor.batch_stride, ", ", tensor.token_stride, ", ",
               tensor.head_stride,
               "; expected an address and strides that are multiples of 16 bytes");
  return map;
}

}  // namespace heddle::attention::cuda::sm90
