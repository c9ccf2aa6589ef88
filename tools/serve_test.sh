#!/usr/bin/env bash
# Tests `heddle serve` from outside: hostile clients, load, LibreTranslate's client, a real browser.
#   serve_test.sh BINARY [--models en-pt=DIR pt-en=DIR] [--full | --quick] [--without-browser]
#     [--without-libretranslate]
# Without --models a tiny model with random weights serves. --full takes the numbers of the promises
# (60 s of load, 100,000 requests, 10,000 cancels, 20,000 connections) and fails when a promise of time or
# speed is missed, which needs a machine that does nothing else; otherwise those are only noted. --quick
# takes each load for two seconds.
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,8s/^# //p' "$0"; exit 2; }
binary=$(readlink -f "$1")
shift
cd "$(dirname "$0")/.."

models=() browser=yes libretranslate=yes size=usual
while [ $# -gt 0 ]; do
  case $1 in
    --models)
      while [ $# -gt 1 ] && [[ $2 != --* ]]; do
        models+=(--model "$2")
        shift
      done
      ;;
    --full | --quick) size=${1#--} ;;
    --without-browser) browser=no ;;
    --without-libretranslate) libretranslate=no ;;
    *) echo "serve_test.sh: found '$1'; expected --models, --full, --quick, --without-browser or --without-libretranslate" >&2; exit 2 ;;
  esac
  shift
done

hostile=() load=()
case $size in
  full)
    hostile=(--strict --idle-connections 20000)
    load=(--strict --seconds 60 --requests 100000 --cancels 10000)
    ;;
  quick) load=(--seconds 2 --requests 1000 --cancels 400) ;;
esac

export PYTHONDONTWRITEBYTECODE=1
failed=()
check() { # NAME COMMAND...
  echo "== $1"
  "${@:2}" || failed+=("$1")
}

check hostile python3 tests/serve/hostile.py "$binary" "${models[@]}" "${hostile[@]}"
check load python3 tests/serve/load.py "$binary" "${models[@]}" "${load[@]}"

if [ $libretranslate = yes ]; then
  python=python3
  if ! python3 -c 'import libretranslatepy' 2>/dev/null; then
    venv=.cache/serve_venv
    [ -x $venv/bin/python ] || python3 -m venv $venv
    $venv/bin/python -m pip install --quiet --disable-pip-version-check libretranslatepy==2.1.4
    python=$venv/bin/python
  fi
  check libretranslate "$python" tests/serve/libretranslate.py "$binary" "${models[@]}"
else
  echo "== libretranslate: left out, as asked"
fi

if [ $browser = yes ]; then
  command -v chromium >/dev/null || { echo "serve_test.sh: no chromium; type: apt-get install chromium, or say --without-browser" >&2; exit 1; }
  check browser python3 tests/serve/browser.py "$binary" "${models[@]}"
else
  echo "== browser: left out, as asked"
fi

if [ ${#failed[@]} -gt 0 ]; then
  echo "serve_test.sh: failed: ${failed[*]}"
  exit 1
fi
echo "serve_test.sh: all pass"
