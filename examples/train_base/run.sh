#!/usr/bin/env bash
# A Transformer-base from a corpus of sentence pairs, on one GPU: vocabulary, training, scores, curves.
#
#   run.sh CORPUS DEV [FOLDER [OPTION...]]   CORPUS, DEV: .tsv, .tsv.gz or .tsv.zst of sources and
#                                            targets; OPTIONs go to heddle train
#
#   COLUMNS_OF=3,4   of both files: source, target (1,2)
#   PIECES=32000     of the vocabulary
#   STEPS=4050       updates of about 31,000 target tokens each
#   TESTS="a.tsv b.tsv"   more files to score, sources in column 1 and targets in column 2
#   TWIN=1           also train the same model in PyTorch on the same data, for as many target tokens
#   HEDDLE=…         the program
#
# A second run goes on where the first one stopped.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
[ $# -ge 2 ] || { sed -n '2,15s/^# \{0,1\}//p' "$0" >&2; exit 2; }
corpus=$(realpath "$1") dev=$(realpath "$2") folder=${3:-$here/../../build/train_base}
heddle=$(realpath "${HEDDLE:-$here/../../build/release/bin/heddle}")
columns=${COLUMNS_OF:-1,2}
tests=$(for file in ${TESTS:-}; do realpath "$file"; done)
mkdir -p "$folder"
cp "$here/train.yaml" "$folder"
cd "$folder"

[ -s vocab.spm ] ||
  "$heddle" vocab --input "$corpus" --columns "$columns" --lines 1000000 --size "${PIECES:-32000}" \
    --output vocab.spm
"$heddle" train --config train.yaml --train_file "$corpus" --source_column "${columns%,*}" \
  --target_column "${columns#*,}" --max_steps "${STEPS:-4050}" --output_dir run "${@:4}"
runs=(run)

if [ -n "${TWIN:-}" ]; then
  tokens=$(grep -o '"num_tokens": *[0-9]*' run/log.jsonl | tail -n 1 | grep -o '[0-9]*$')
  [ -s twin/config.json ] || python3 "$here/../../bench/model/pytorch_training.py" --train "$corpus" \
    --columns "$columns" --vocab vocab.spm --max-tokens 32000 --window 65536 --warmup-steps 1500 \
    --max-steps 1000000 --max-target-tokens "$tokens" --output twin
  runs+=(twin)
fi
"$heddle" plot "${runs[0]}" ${TWIN:+--run twin} --value loss --x tokens --output curves.svg

# pairs FILE COLUMNS: source, tab, target.
pairs() {
  case $1 in
    *.zst) zstd -dcq "$1" ;;
    *.gz) gzip -dc "$1" ;;
    *) cat "$1" ;;
  esac | cut -f "$2"
}
for model in "${runs[@]}"; do
  for file in "$dev" $tests; do
    [ "$file" = "$dev" ] && pairs "$file" "$columns" >scored.tsv || pairs "$file" 1,2 >scored.tsv
    printf '%s, %s\n' "$model" "$(basename "$file")"
    "$heddle" evaluate --model "$model" --tsv scored.tsv --beam 4 --metric bleu,chrf
  done
done
