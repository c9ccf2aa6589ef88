#!/usr/bin/env bash
# Builds the laboratory of the Hopper backward: build_backward_lab.sh [output folder] [nvcc flags]
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
out=${1:-$root/build/backward_lab}
shift || true
mkdir -p "$out"
src=$root/src
flags=(-std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a --expt-relaxed-constexpr
       -I"$root/include" -I"$root/bench/attention" "$@")
files=("$root"/bench/attention/{lab.cu,reference_gradients.cu,sm90_backward_lab.cpp,sm90_backward_times.cpp}
       "$src"/attention/cuda/sm90/{backward*.cu,backward.cpp,tensor_map.cpp}
       "$src"/mask/{mask,builders,families,plan,tree,intervals,algebra}.cpp
       "$src"/base/{dtype,error,half,random,threads}.cpp "$src"/tensor/{buffer,tensor}.cpp)
# Each file alone, so that they compile side by side.
printf '%s\0' "${files[@]}" | xargs -0 -P "$(nproc)" -I{} bash -c '
  out=$1; file=$2; shift 2
  nvcc "$@" -c "$file" -o "$out/$(basename "$file").o" || { echo "failed: $file"; exit 255; }
' _ "$out" {} "${flags[@]}"
nvcc -gencode=arch=compute_90a,code=sm_90a "$out"/*.o -o "$out/sm90_backward_lab"
echo "$out/sm90_backward_lab"
