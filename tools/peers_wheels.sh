#!/usr/bin/env bash
# Packs FlashAttention-4 and cuDNN's flex attention, which bench/attention/peers.py compares Heddle
# with, for a GPU machine without network: Python 3.12, x86-64, PyTorch 2.9 or later for CUDA 13,
# einops, cuda-bindings and protobuf are expected there.
#
#   tools/peers_wheels.sh FOLDER               fetches the wheels by pip, leaves out what attention
#                                              never loads, writes FOLDER/peers_a.tar.xz, peers_b.tar.xz
#   tools/peers_wheels.sh --unpack FOLDER DIR  unpacks both into DIR and prints the PYTHONPATH
#
# FOLDER should be ignored by git. Packing takes some minutes: both large libraries, in peers_a, hold one
# compiler, which a dictionary over both stores once. A peers_a that is there is kept; delete it when
# the versions below change. PEERS_WHEELS names a folder in which wheels are looked for and left.
set -euo pipefail

wheels=(
  flash-attn-4==4.0.0b36
  quack-kernels==0.6.5
  apache-tvm-ffi==0.1.15.post2
  torch-c-dlpack-ext==0.1.5
  nvidia-cutlass-dsl==4.8.1
  nvidia-cutlass-dsl-libs-base==4.8.1
  nvidia-cutlass-dsl-libs-core==4.8.1
  nvidia-cutlass-dsl-libs-cu13==4.8.1
  nvidia-cudnn-frontend==1.32.0
)
platforms=(manylinux_2_28_x86_64 manylinux_2_27_x86_64 manylinux_2_24_x86_64
  manylinux_2_17_x86_64 manylinux2014_x86_64)
libraries=(
  nvidia_cutlass_dsl/cu13/lib/libcute_dsl_runtime.so
  nvidia_cutlass_dsl/dsl_packages/cutlass/_mlir/_mlir_libs
)

die() { echo "peers_wheels: $*" >&2; exit 1; }

unpack() { # FOLDER DIR
  mkdir -p "$2"
  for part in a b; do
    [ -f "$1/peers_$part.tar.xz" ] || die "$1/peers_$part.tar.xz is not there; make it first"
    python3 - "$1/peers_$part.tar.xz" "$2" <<'PYTHON' # needs no xz program
import sys, tarfile
with tarfile.open(sys.argv[1]) as archive:
    archive.extractall(sys.argv[2])
PYTHON
  done
  local dir
  dir=$(cd "$2" && pwd)
  echo "$dir:$dir/nvidia_cutlass_dsl/dsl_packages"
}

fetch() { # WHEEL_FOLDER
  local options=(--no-deps --only-binary=:all: --python-version 3.12 --implementation cp)
  for platform in "${platforms[@]}"; do options+=(--platform "$platform"); done
  for wheel in "${wheels[@]}"; do
    echo "fetching $wheel"
    python3 -m pip download --quiet --disable-pip-version-check "${options[@]}" \
      --dest "$1" --find-links "$1" "$wheel"
  done
}

prune() { # in the unpacked tree: what neither flash_attn.cute nor cudnn.flex_attention loads
  rm -rf include nvidia_cutlass_dsl_packages.pth build_backend.py nvidia_cutlass_dsl/cu13/include \
    nvidia_cutlass_dsl/cu13/lib/stubs nvidia_cutlass_dsl/dsl_packages/iket \
    tvm_ffi/{3rdparty,include,src,cython}
  find . -name '*.a' -delete
  find . \( -name __pycache__ -o -name tests \) -prune -exec rm -rf {} +
  find . -path '*.dist-info/*' -type f ! -name METADATA -delete
  find cudnn -mindepth 1 -maxdepth 1 -type d \
    ! -name flex_attention ! -name engines ! -name frost ! -name experimental -exec rm -rf {} +
  find torch_c_dlpack_ext -name '*.so' ! -name '*-cuda.so' -delete
}

compress() { # ARCHIVE TAR_ARGUMENT...
  local archive=$1
  shift
  tar --sort=name --owner=0 --group=0 --mtime=@0 -cf - "$@" |
    xz -T1 --x86 --lzma2=preset=9e,dict=256MiB >"$archive.part"
  mv "$archive.part" "$archive"
}

pack() { # FOLDER
  command -v xz >/dev/null || die "xz is not there; install xz-utils"
  mkdir -p "$1"
  local folder
  folder=$(cd "$1" && pwd)
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  mkdir "$work/site"
  mkdir -p "${PEERS_WHEELS:=$work/wheels}"
  fetch "$PEERS_WHEELS"
  for wheel in "$PEERS_WHEELS"/*.whl; do
    python3 -m zipfile -e "$wheel" "$work/site"
  done
  cd "$work/site"
  prune
  local exclude=()
  for library in "${libraries[@]}"; do exclude+=(--exclude="./$library"); done
  if [ ! -f "$folder/peers_a.tar.xz" ]; then
    echo "packing the compiler's libraries"
    compress "$folder/peers_a.tar.xz" "${libraries[@]}"
  fi
  echo "packing the packages"
  compress "$folder/peers_b.tar.xz" "${exclude[@]}" .
  cd "$folder"
  du --apparent-size -ch -- peers_a.tar.xz peers_b.tar.xz
  cat <<'TEXT'
There, from the root of the tree:
  export PYTHONPATH=$(tools/peers_wheels.sh --unpack FOLDER DIR)
  python3 bench/attention/peers.py --quick
TEXT
}

case ${1:-} in
  --unpack) [ $# -eq 3 ] || die "expected --unpack FOLDER DIR"; unpack "$2" "$3" ;;
  "" | -*) sed -n '2,14s/^# \{0,1\}//p' "$0"; [ "${1:-}" = --help ] || exit 1 ;;
  *) pack "$1" ;;
esac
