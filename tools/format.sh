#!/usr/bin/env bash
# Runs clang-format 14 over all sources, kernels included: format.sh -i, or --dry-run -Werror.
set -euo pipefail
cd "$(dirname "$0")/.."
formatter=$(command -v clang-format-14 || command -v clang-format) || {
  echo "format.sh: no clang-format-14; type: ./run setup checks" >&2
  exit 1
}
find src cli tests bench fuzz examples python -type f \
  \( -name '*.h' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh' \) -print0 2>/dev/null |
  xargs -0 -r -n 16 -P "$(nproc)" "$formatter" --style=file "$@"
