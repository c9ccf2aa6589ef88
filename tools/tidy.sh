#!/usr/bin/env bash
# Runs clang-tidy over src/ and cli/. A file that passed is not read again until it, a header, the
# compile command or .clang-tidy changes.
set -euo pipefail
cd "$(dirname "$0")/.."
preset=dev
tidy=$(command -v clang-tidy-14 || command -v clang-tidy) || {
  echo "tidy.sh: no clang-tidy-14; type: ./run setup checks" >&2
  exit 1
}
passed=build/$preset/tidy
mkdir -p "$passed"
common=$({ cat .clang-tidy build/$preset/compile_commands.json
  find src cli -name '*.h' -print0 | sort -z | xargs -0 cat; } | sha256sum)

check() { # file: prints what clang-tidy says, exit code 1 when it says something
  local stamp
  stamp=$passed/$({ echo "$common"; cat "$1"; } | sha256sum | cut -c1-32)
  [ ! -e "$stamp" ] || return 0
  # The compile commands are g++'s, so some warnings have names clang does not know.
  "$tidy" -p "build/$preset" --quiet --extra-arg=-Wno-unknown-warning-option "$1" 2>/dev/null ||
    return 1
  touch "$stamp"
}
export -f check
export tidy preset passed common
find src cli -name '*.cpp' | sort | xargs -P "$(nproc)" -I{} bash -c 'check {}' ||
  { echo "tidy.sh: clang-tidy complains (above)"; exit 1; }
echo "$(find src cli -name '*.cpp' | wc -l) files are tidy"
