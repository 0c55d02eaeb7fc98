#!/bin/sh
# What segment.cc is compiled with, on a Debian that has no libonnxruntime-dev (12): sh for_cpp.sh FOLDER [PYTHON]
# makes FOLDER/include, the headers of Debian 13's package, and FOLDER/lib, the library that PYTHON's onnxruntime brings.
# Newer libraries run what older headers call. Nothing is installed. A release of onnxruntime, unpacked, does as well.
set -eu
mkdir -p "$1/apt/parts" "$1/apt/lists/partial" "$1/apt/cache/archives/partial" "$1/include" "$1/lib"
cd "$1"
library=$("${2:-python3}" -c 'import glob, os, onnxruntime as o; print(glob.glob(os.path.dirname(o.__file__) + "/capi/libonnxruntime.so.1*")[0])')
ln -sf "$library" lib/libonnxruntime.so.1 # the name that a program asks for, which the Python package does not have
ln -sf libonnxruntime.so.1 lib/libonnxruntime.so
printf '%s\n' 'Types: deb' 'URIs: http://deb.debian.org/debian' 'Suites: trixie' 'Components: main' \
  'Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg' > apt/parts/trixie.sources
from_debian() {
  apt-get -q -o Dir::Etc::sourcelist=/dev/null -o "Dir::Etc::sourceparts=$PWD/apt/parts" \
    -o "Dir::State::lists=$PWD/apt/lists" -o "Dir::Cache=$PWD/apt/cache" "$@"
}
from_debian update
from_debian download libonnxruntime-dev
dpkg-deb -x libonnxruntime-dev_*.deb apt/unpacked
cp apt/unpacked/usr/include/onnxruntime/*.h include/
rm -rf apt libonnxruntime-dev_*.deb
