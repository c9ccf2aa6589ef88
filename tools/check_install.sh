#!/usr/bin/env bash
# Installs a build into a new prefix and uses it as a stranger would: through find_package, through
# pkg-config, and by running the command. Usage: check_install.sh build/release
set -euo pipefail
cd "$(dirname "$0")/.."
build=$(readlink -f "$1")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

expect() { # PATH: is there and not empty
  [ -s "$1" ] || { echo "not installed: ${1#"$work"/}"; exit 1; }
}

cmake --install "$build" --prefix "$work/first" >"$work/install.log"
mv "$work/first" "$work/prefix" # an install can be moved
prefix=$work/prefix
lib=$prefix/$(sed -n 's/^CMAKE_INSTALL_LIBDIR:.*=//p' "$build/CMakeCache.txt")

for file in bin/heddle include/heddle/mask/mask.h share/man/man1/heddle.1 \
  share/doc/heddle/LICENSE share/doc/heddle/heddle.spdx.json; do
  expect "$prefix/$file"
done
if find "$prefix/include" -name '*_internal.h' | grep .; then
  echo "internal headers are installed"
  exit 1
fi
soname=$(readelf -d "$lib/libheddle.so" | sed -n 's/.*(SONAME).*\[\(.*\)\]/\1/p')
[ "$soname" = libheddle.so.0 ] || { echo "SONAME is '$soname'; expected libheddle.so.0"; exit 1; }
tools/sbom.py --check "$prefix/share/doc/heddle/heddle.spdx.json" "$lib/libheddle.so" "$prefix/bin/heddle"
"$prefix/bin/heddle" --help >/dev/null
echo "installed: $(find "$prefix" -type f | wc -l) files, bill of materials complete"

cmake -S packaging/consumer -B "$work/consumer" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" \
  >"$work/consumer.log" || { cat "$work/consumer.log"; exit 1; }
cmake --build "$work/consumer" >"$work/consumer.log" || { cat "$work/consumer.log"; exit 1; }
"$work/consumer/consumer"
echo "find_package(heddle) works"

export PKG_CONFIG_PATH=$lib/pkgconfig
# shellcheck disable=SC2046
"${CXX:-g++}" -std=c++20 packaging/consumer/main.cpp $(pkg-config --cflags --libs heddle) \
  -Wl,-rpath,"$lib" -o "$work/by_pkg_config"
"$work/by_pkg_config"
echo "pkg-config heddle works"
