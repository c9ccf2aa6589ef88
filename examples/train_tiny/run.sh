#!/usr/bin/env bash
# From nothing to a model that translates, in less than a minute: a toy language, its vocabulary, a
# training, the share of unseen sentences that come out right, the curves.
#
#   run.sh [HEDDLE [FOLDER]]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
heddle=$(realpath "${1:-$here/../../build/release/bin/heddle}")
folder=${2:-$here/../../build/train_tiny}
python3 "$here/make_language.py" "$folder"
cp "$here/train.yaml" "$folder"
cd "$folder"
rm -rf run

"$heddle" vocab --input train.tsv --size 100 --character-coverage 1 --output vocab.spm
"$heddle" train --config train.yaml --output_dir run
"$heddle" plot run --output curves.svg
cut -f1 test.tsv | "$heddle" translate --model run --quiet >test.out

cut -f2 test.tsv | paste - test.out | awk -F'\t' -v seconds=$SECONDS '
  $1 == $2 { right += 1 }
  END {
    printf "%.1f %% of %d unseen sentences are right, %d s in all\n", 100 * right / NR, NR, seconds
    exit right < 0.99 * NR
  }'
