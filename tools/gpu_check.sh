#!/usr/bin/env bash
# Checks the GPU code on a machine with a GPU, and keeps all output in a folder:
#   tools/gpu_check.sh OUT [build] [test] [sanitize] [bench]      all steps when none is named
#
# Where the libraries that a build needs are not installed, take one along. On a Debian machine that has
# them, after `cmake -S . -B build/gpu … && cmake --build build/gpu`:
#   tools/gpu_check.sh --pack FILE.tar.xz [BUILD]
# and there, in a checkout of the same commit:
#   HEDDLE_GPU_PACK=FILE.tar.xz tools/gpu_check.sh OUT test sanitize
set -uo pipefail
cd "$(dirname "$0")/.."

suites=(attention ops model train decode cli)

if [ "${1:-}" = --pack ]; then
  to=$(realpath -m "${2:?the file to write}") from=${3:-build/gpu}
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  mkdir "$folder/bin" "$folder/lib"
  for name in heddle "${suites[@]/#/test_}"; do
    [ ! -e "$from/bin/$name" ] || cp "$from/bin/$name" "$folder/bin"
  done
  cp "$from"/lib/libheddle.so.0 "$folder/lib"
  strip "$folder"/bin/* "$folder"/lib/*
  # All but what every system has.
  ldd "$folder"/bin/* "$folder"/lib/* | grep -o '=> /[^ ]*' | cut -c4- | sort -u |
    grep -vE '/(libc|libm|libdl|libpthread|librt|libgcc_s|libstdc\+\+|libz|libheddle)\.so|ld-linux' |
    while read -r file; do cp -L "$file" "$folder/lib"; done
  pwd -P >"$folder/root"
  realpath "$from/bin" >"$folder/programs"
  tar -C "$folder" -c . | xz -T0 -6 >"$to"
  ls -l "$to"
  exit
fi

out=$(realpath -m "${1:?folder for the output}")
shift
[ $# -gt 0 ] || set -- build test sanitize bench
build=build/gpu
programs=$build/bin
mkdir -p "$out"
failed=()

if [ -n "${HEDDLE_GPU_PACK:-}" ]; then
  pack=${TMPDIR:-/tmp}/heddle-gpu-$(sha256sum <"$HEDDLE_GPU_PACK" | cut -c1-12)
  if [ ! -e "$pack/root" ]; then
    mkdir -p "$pack"
    python3 -c 'import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])' "$HEDDLE_GPU_PACK" "$pack"
  fi
  programs=$pack/bin
  export LD_LIBRARY_PATH=$pack/lib:${LD_LIBRARY_PATH:-}
  root=$(cat "$pack/root") # where the tests look for their data
  [ -e "$root" ] || { mkdir -p "$(dirname "$root")" && ln -s "$PWD" "$root"; }
  built=$(cat "$pack/programs") # where those of the command look for it
  [ -e "$built" ] || { mkdir -p "$(dirname "$built")" && ln -s "$programs" "$built"; }
fi

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
  cmake -S . -B $build -G Ninja -DCMAKE_BUILD_TYPE=Release -DHEDDLE_CUDA=ON -DHEDDLE_BUILD_TESTS=ON &&
    cmake --build $build --target heddle_cli "${suites[@]/#/test_}"
}

sanitize() { # tool, suite: small cases; the reference's own kernels are too slow to be watched in all
  local filter='' exclude=(--kernel-regex-exclude kns=heddle4test)
  case $1-$2 in
    racecheck-attention) filter='AttentionGpu.OneTile:AttentionGpu.UnequalLengths:AttentionGpu.Options' ;;
    initcheck-attention) filter='AttentionGpu.OneTile:BatchGpu.*' exclude=() ;; # else its results count as unset
    *-attention) filter='AttentionGpu.*:BatchGpu.Import*' ;;
    memcheck-ops) filter='OpsGpu.*' ;;
    racecheck-ops | synccheck-ops) filter='OpsGpu.CrossEntropyLikeTheCpu:OpsGpu.Glu:OpsGpu.ColumnSums' ;;
    memcheck-train) filter='AdamWGpu.*:TeacherGpu.*' ;;
    racecheck-train) filter='AdamWGpu.*' ;;
    memcheck-model) filter='TrainingGpu.Rounded*:LanguageTrainingGpu.*' ;;
    memcheck-decode | racecheck-decode)
      filter='DecoderGpu.TopAndBest*:DecoderGpu.ForksAndReorders*:DecoderGpu.SaysWhat*' ;;
    *) return 0 ;;
  esac
  HEDDLE_GPU_TEST=small compute-sanitizer --tool "$1" --error-exitcode 9 --print-limit 20 \
    "${exclude[@]}" "$programs/test_$2" --gtest_filter="$filter"
}

for name in "$@"; do
  case $name in
    build) step build build ;;
    test) for suite in "${suites[@]}"; do
        step "test-$suite" "$programs/test_$suite" --gtest_filter='*Gpu.*'
      done ;;
    sanitize) for tool in memcheck racecheck synccheck initcheck; do
        for suite in "${suites[@]}"; do step "sanitize-$tool-$suite" sanitize "$tool" "$suite"; done
      done ;;
    bench) step bench python3 bench/attention/peers.py --output "$out" ;;
    *) echo "gpu_check.sh: no step $name; expected build, test, sanitize or bench" >&2; exit 2 ;;
  esac
done
nvidia-smi --query-gpu=name,driver_version,clocks.sm --format=csv,noheader
[ ${#failed[@]} -eq 0 ] || { echo "failed: ${failed[*]}"; exit 1; }
