#include "heddle/attention/table.h"

#include "heddle/attention/cpu/cpu.h"
#include "heddle/attention/cpu/short_documents.h"
#include "heddle/attention/cuda/cuda.h"
#include "heddle/attention/reference.h"

namespace heddle::attention {

namespace {

using CpuAvx512 = cpu::Row<cpu::avx512_kernels>;
using CpuAvx2 = cpu::Row<cpu::avx2_kernels>;
using CpuPortable = cpu::Row<cpu::portable_kernels>;

constexpr Implementation kTable[] = {
    {"cuda-short", cuda::short_applies, cuda::short_forward, cuda::short_backward,
     cuda::short_pays},
    {"cuda-sm90", cuda::sm90_applies, cuda::sm90_forward, cuda::sm90_backward},
    {"cuda-sm80", cuda::sm80_applies, cuda::sm80_forward, cuda::sm80_backward},
    {"cpu-documents", cpu::DocumentsRow::applies, cpu::DocumentsRow::forward, nullptr},
    {"cpu-decode", cpu::DecodeRow::applies, cpu::DecodeRow::forward, nullptr},
    {"cpu-avx512", CpuAvx512::applies, CpuAvx512::forward, CpuAvx512::backward},
    {"cpu-avx2", CpuAvx2::applies, CpuAvx2::forward, CpuAvx2::backward},
    {"cpu-portable", CpuPortable::applies, CpuPortable::forward, CpuPortable::backward},
    {"reference", reference::applies, reference::forward, reference::backward},
};

}  // namespace

std::span<const Implementation> implementations() { return kTable; }

}  // namespace heddle::attention
