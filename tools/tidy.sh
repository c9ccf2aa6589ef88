#!/usr/bin/env bash
# Runs clang-tidy over the files of src/ and cli/ that this machine compiles. A file that passed is not
# read again until it, a header, the compile commands or .clang-tidy change.
#   tidy.sh             all of them
#   tidy.sh --changed   the thirty changed last, of what is not committed and the last five commits
set -euo pipefail
cd "$(dirname "$0")/.."
tidy=$(command -v clang-tidy-14 || command -v clang-tidy) || {
  echo "tidy.sh: no clang-tidy-14; type: ./run setup checks" >&2
  exit 1
}
passed=build/tidy # configured alone: the preset dev compiles several files as one
commands=$passed/dev/compile_commands.json
cmake --preset dev -B "$passed/dev" -DCMAKE_UNITY_BUILD=OFF >/dev/null
# Without g++'s precompiled headers, which clang cannot read.
sed 's|-Winvalid-pch -include [^ ]*/cmake_pch.hxx ||' "$commands" >"$passed/compile_commands.json"
common=$({ cat .clang-tidy "$commands"
  find src cli -name '*.h' -print0 | sort -z | xargs -0 cat; } | sha256sum)

check() { # file: prints what clang-tidy says, exit code 1 when it says something
  local stamp
  stamp=$passed/$({ echo "$common"; cat "$1"; } | sha256sum | cut -c1-32)
  [ ! -e "$stamp" ] || return 0
  # The compile commands are g++'s, so some warnings have names clang does not know.
  "$tidy" -p "$passed" --quiet --extra-arg=-Wno-unknown-warning-option "$1" 2>/dev/null ||
    return 1
  touch "$stamp"
}
export -f check
export tidy passed common
mapfile -t files < <(sed -n "s|^ *\"file\": \"$PWD/\(.*\.cpp\)\",*\$|\1|p" "$commands" | grep -E '^(src|cli)/' | sort -u)
if [ "${1:-}" = --changed ]; then
  mapfile -t files < <({ git diff --name-only HEAD; git ls-files --others --exclude-standard
    git log -5 --name-only --format=; } |
    grep -xF "$(printf '%s\n' "${files[@]}")" | awk '!seen[$0]++')
  left=$((${#files[@]} > 30 ? ${#files[@]} - 30 : 0))
  files=("${files[@]:0:30}")
  [ $left = 0 ] || echo "$left more files changed lately are left to tools/nightly tidy"
fi
[ ${#files[@]} -gt 0 ] || { echo "no file to check"; exit 0; }
printf '%s\n' "${files[@]}" | xargs -P "$(nproc)" -I{} bash -c 'check {}' ||
  { echo "tidy.sh: clang-tidy complains (above)"; exit 1; }
echo "${#files[@]} files are tidy"
