// The kernels of attention/decode.h, compiled once an instruction set.
#pragma once

#include "heddle/attention/decode.h"

namespace heddle::attention::cpu {

/// All rows; `scores` is scratch for the longest row, rounded up to 16, twice.
using DecodeRows = void (*)(const RowDecode& rows, float* scores);

extern const DecodeRows kDecodeRowsPortable;
extern const DecodeRows kDecodeRowsAvx2;
extern const DecodeRows kDecodeRowsAvx512;

}  // namespace heddle::attention::cpu
