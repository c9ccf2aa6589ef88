#!/usr/bin/env bash
# Checks the GPU code on a machine with a GPU, and keeps all output in a folder:
#   tools/gpu_check.sh OUT [build] [test] [sanitize] [bench]      all steps when none is named
#
# Where GoogleTest or libpng is not installed, HEDDLE_GPU_PREFIX names a folder laid out like /usr that
# holds them; `tools/gpu_check.sh --pack FOLDER` fills one on a Debian machine that has them.
set -uo pipefail
cd "$(dirname "$0")/.."

if [ "${1:-}" = --pack ]; then
  mkdir -p "$2"
  for package in libgtest-dev libgmock-dev libpng-dev zlib1g-dev; do
    # Static GoogleTest, but shared libpng and zlib: Debian's static ones cannot go into a library.
    dpkg -L "$package" | grep -E '/include/|gtest.*\.a$|gmock.*\.a$|\.so$|/cmake/GTest/' |
      while read -r file; do
        [ -d "$file" ] || { mkdir -p "$2/$(dirname "${file#/usr/}")" && cp -L "$file" "$2/${file#/usr/}"; }
      done
  done
  exit
fi

out=$(realpath -m "${1:?folder for the output}")
shift
[ $# -gt 0 ] || set -- build test sanitize bench
build=build/gpu
tests=$build/bin/test_attention
mkdir -p "$out"
failed=()

step() { # name, command...: runs it, keeps its output, says how it ended
  local name=$1 began=$SECONDS
  shift
  if "$@" >"$out/$name.log" 2>&1; then
    echo "$name: passed in $((SECONDS - began)) s"
  else
    echo "$name: FAILED with $? in $((SECONDS - began)) s; the end of $out/$name.log:"
    tail -n 25 "$out/$name.log"
    failed+=("$name")
  fi
}

build() {
  local prefix=()
  if [ -n "${HEDDLE_GPU_PREFIX:-}" ]; then
    local folder
    folder=$(realpath "$HEDDLE_GPU_PREFIX")/lib/$(uname -m)-linux-gnu
    ln -sf libpng.so "$folder/libpng16.so.16"
    ln -sf libz.so "$folder/libz.so.1"
    prefix=(-DCMAKE_PREFIX_PATH="$(realpath "$HEDDLE_GPU_PREFIX")"
      -DCMAKE_LIBRARY_ARCHITECTURE="$(uname -m)-linux-gnu")
  fi
  cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DHEDDLE_CUDA=ON \
    -DHEDDLE_ATTENTION_ONLY=ON -DHEDDLE_BUILD_CLI=OFF "${prefix[@]}" && cmake --build $build --target test_attention
}

sanitize() { # tool: small cases; the reference's own kernels are too slow to be watched in all
  local filter='AttentionGpu.*:BatchGpu.Import*' exclude=(--kernel-regex-exclude kns=heddle4test)
  case $1 in
    racecheck) filter='AttentionGpu.OneTile:AttentionGpu.UnequalLengths:AttentionGpu.Options' ;;
    initcheck) filter='AttentionGpu.OneTile:BatchGpu.*' exclude=() ;; # else its results count as unset
  esac
  HEDDLE_GPU_TEST=small compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 20 \
    "${exclude[@]}" $tests --gtest_filter="$filter"
}

for name in "$@"; do
  case $name in
    build) step build build ;;
    test) step test $tests --gtest_filter='*Gpu.*' ;;
    sanitize) for tool in memcheck racecheck synccheck initcheck; do
        step "sanitize-$tool" sanitize "$tool"
      done ;;
    bench) step bench python3 bench/attention/peers.py --output "$out" ;;
    *) echo "gpu_check.sh: no step $name; expected build, test, sanitize or bench" >&2; exit 2 ;;
  esac
done
nvidia-smi --query-gpu=name,driver_version,clocks.sm --format=csv,noheader
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
