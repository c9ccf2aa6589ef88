#!/usr/bin/env bash
# From a corpus of technical documentation to a small int8 model: the text cleaned, then heddle distil.
#
#   run.sh CORPUS DEV [FOLDER [OPTION...]]   CORPUS: .tsv or .tsv.zst of domain, origin, English, German;
#                                            DEV: .tsv of the same; OPTIONs go to heddle distil
#
#   TESTS="a.tsv b.tsv"   more files to score, sources in column 1 and targets in column 2
#   SPEED=lines.en        text to measure words/s with
#   CONFIG=distil.yaml    another recipe
#   HEDDLE=…              the program
#
# A second run goes on where the first one stopped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 2 ] || { sed -n '2,13s/^# \{0,1\}//p' "$0" >&2; exit 2; }
corpus=$(realpath "$1") dev=$(realpath "$2") folder=${3:-$here/../../build/distil_docs}
heddle=$(realpath "${HEDDLE:-$here/../../build/release/bin/heddle}")
config=$(realpath "${CONFIG:-$here/distil.yaml}")
options=("${@:4}")
for file in ${TESTS:-}; do options+=(--test_file "$(realpath "$file")"); done
[ -z "${SPEED:-}" ] || options+=(--speed_file "$(realpath "$SPEED")")
mkdir -p "$folder"
cd "$folder"
if [ ! -s train.tsv ]; then
  python3 "$here/prepare.py" "$corpus" train.tsv.part --without "$dev"
  mv train.tsv.part train.tsv
fi
cut -f 3,4 "$dev" >dev.tsv
"$heddle" distil --config "$config" "${options[@]}"
