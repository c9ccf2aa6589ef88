#include "heddle/ops/cpu/elementwise.h"
#include "heddle/ops/cpu/float_product.h"
#include "heddle/ops/cpu/gradients.h"
#include "heddle/ops/cpu/int8_portable.h"
#include "heddle/ops/cpu/simd_portable.h"
#include "heddle/ops/cpu/tables.h"

namespace heddle::ops::cpu {

const Kernels kPortableKernels = {.name = "portable",
                                  .supported = [] { return true; },
                                  .pair_sums = false,
                                  .prepared_bytes = nullptr,
                                  .prepare_int8 = nullptr,
                                  .multiply_int8 = multiply_int8_plainly<Portable>,
                                  .multiply_float = multiply_float<Portable>,
                                  .dot_rows_int8 = dot_rows_int8_plainly<Portable>,
                                  .dot_rows_float = dot_rows_float<Portable>,
                                  .quantize = quantize<Portable>,
                                  .largest = largest<Portable>,
                                  .norm = norm<Portable>,
                                  .activate = activate<Portable>,
                                  .glu = glu<Portable>,
                                  .exponentials = exponentials<Portable>,
                                  .ssru = ssru<Portable>,
                                  .most = most<Portable>,
                                  .backward = kGradientKernels<Portable>};

}  // namespace heddle::ops::cpu
