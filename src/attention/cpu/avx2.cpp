#include "heddle/attention/cpu/backward_tile.h"
#include "heddle/attention/cpu/few_rows.h"
#include "heddle/attention/cpu/simd_avx2.h"
#include "heddle/attention/cpu/tables.h"

namespace heddle::attention::cpu {

const Kernels kAvx2Kernels = {Avx2::kLanes,       pack<Avx2>,         unpack<Avx2>,
                              dot_rows<Avx2>,     forward_tile<Avx2>, backward_tile<Avx2>,
                              few_rows_tile<Avx2>};

}  // namespace heddle::attention::cpu
