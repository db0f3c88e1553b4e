#!/usr/bin/env bash
# Builds the stand-in driver into a folder of its own, unless it is there, and prints the folder: for
# LD_LIBRARY_PATH. Argument: where such folders are.
set -euo pipefail
folders=$(realpath "$1")
cd "$(dirname "$0")/.."
version=$(cat ./*.h ./*.cuh tests/driver.cpp tests/driver.sh | sha256sum | cut -c1-16)
folder=$folders/driver-$version
if [ ! -e "$folder/libcuda.so" ]; then
    mkdir -p "$folder"
    # Several may build it at once.
    new=$(mktemp "$folder/new.XXXXXX")
    ${CXX:-c++} -O2 -std=c++17 -shared -fPIC -Wno-unknown-pragmas -o "$new" tests/driver.cpp
    mv "$new" "$folder/libcuda.so.1"
    ln -sf libcuda.so.1 "$folder/libcuda.so"
fi
echo "$folder"
