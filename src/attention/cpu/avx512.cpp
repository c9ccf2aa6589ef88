#include "heddle/attention/cpu/backward_tile.h"
#include "heddle/attention/cpu/few_rows.h"
#include "heddle/attention/cpu/simd_avx512.h"
#include "heddle/attention/cpu/tables.h"

namespace heddle::attention::cpu {

const Kernels kAvx512Kernels = {Avx512::kLanes,       pack<Avx512>,         unpack<Avx512>,
                                dot_rows<Avx512>,     forward_tile<Avx512>, backward_tile<Avx512>,
                                few_rows_tile<Avx512>};

}  // namespace heddle::attention::cpu
