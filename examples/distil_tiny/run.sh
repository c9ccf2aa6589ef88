#!/usr/bin/env bash
# Distillation from nothing, in about a minute on two cores: a toy language, a teacher, students that
# learn from what it says, int8, and a report with pictures.
#
#   run.sh [HEDDLE [FOLDER]]
#
# A second run goes on where the first one stopped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
heddle=$(realpath "${1:-$here/../../build/release/bin/heddle}")
folder=${2:-$here/../../build/distil_tiny}
[ -s "$folder/train.tsv" ] || python3 "$here/../train_tiny/make_language.py" "$folder"
head -n 20000 "$folder/train.tsv" >"$folder/corpus.tsv"
cp "$here/distil.yaml" "$folder"
cd "$folder"
"$heddle" distil --config distil.yaml
sed -n '3,/^BLEU/p' distil/report.md
