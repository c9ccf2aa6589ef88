#!/usr/bin/env bash
# Stands before nvcc in the build of the Hopper kernels (CUDA_COMPILER_LAUNCHER) and reads what ptxas
# says of them, which needs -Xptxas=-v:
#   tools/check_kernel.sh nvcc … -c file.cu -o file.o
# Fails when products of the matrix unit are serialised (C75xx), or a kernel spills more than 16 bytes
# of registers: those with soft-cap and ALiBi need a few, which no loop without them pays for.
set -uo pipefail
allowed=16

report=$("$@" 2>&1)
status=$?
if [ $status -ne 0 ]; then
  printf '%s\n' "$report" >&2
  exit $status
fi
printf '%s\n' "$report" | grep -vE '^ptxas info|bytes stack frame|^[[:space:]]*$'
printf '%s\n' "$report" | awk -v allowed=$allowed '
  /C75[0-9][0-9]/ { serialised++; print }
  /bytes spill stores/ { kernels++; for (i = 2; i < NF; ++i) if ($(i + 1) == "bytes" && $(i + 2) == "spill") {
    if ($i > worst) worst = $i } }
  END {
    if (kernels > 0) printf "%d kernels, spills of at most %d bytes, %d serialised\n", kernels, worst, serialised
    exit serialised > 0 || worst > allowed
  }' || { echo "check_kernel.sh: spills or serialised products, see above" >&2; exit 1; }
