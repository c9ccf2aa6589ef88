#include "heddle/attention/cpu/backward_tile.h"
#include "heddle/attention/cpu/few_rows.h"
#include "heddle/attention/cpu/simd_portable.h"
#include "heddle/attention/cpu/tables.h"

namespace heddle::attention::cpu {

const Kernels kPortableKernels = {
    Portable::kLanes,       pack<Portable>,          unpack<Portable>,       dot_rows<Portable>,
    forward_tile<Portable>, backward_tile<Portable>, few_rows_tile<Portable>};

}  // namespace heddle::attention::cpu
