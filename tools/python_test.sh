#!/usr/bin/env bash
# Installs the Python package into build/venv and runs its tests.
#
#   tools/python_test.sh [LIBRARY [PYTEST ARGUMENT...]]
#
# LIBRARY, such as build/dev/lib/libheddle.so.0, is taken instead of building the library again. The
# last line printed is pytest's summary.
set -euo pipefail
cd "$(dirname "$0")/.."
library=${1:-}
shift || true

venv=build/venv
python=$venv/bin/python
if [ ! -x "$python" ] && ! python3 -m venv "$venv" >/dev/null 2>&1; then
  rm -rf "$venv"
  echo "python_test.sh: cannot make a virtual environment; type: ./run setup checks" >&2
  exit 1
fi
"$python" -c 'import ml_dtypes, nanobind, numpy, pytest, scikit_build_core' 2>/dev/null ||
  "$python" -m pip install --quiet --disable-pip-version-check \
    scikit-build-core nanobind numpy ml_dtypes pytest

options=(--config-settings "build-dir=$PWD/build/python/venv")
options+=(--config-settings "cmake.define.HEDDLE_PREBUILT=${library:+$(realpath -s "$library")}")
log=build/python-install.log
"$python" -m pip install --verbose --disable-pip-version-check --no-build-isolation --no-deps \
  "${options[@]}" . >"$log" 2>&1 || { tail -n 60 "$log" >&2; exit 1; }
"$python" -m pytest -q "$@"
