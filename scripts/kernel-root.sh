#!/usr/bin/env bash
# Makes the directory that a virtual machine's file system begins with: the
# command, and the test programs, linked statically, because there is nothing
# else in it.
#
#   scripts/kernel-root.sh DIR ARCH        ARCH as GOARCH has it
set -euo pipefail
cd "$(dirname "$0")/.."

root=${1:?usage: $0 DIR ARCH} arch=${2:?usage: $0 DIR ARCH}
# The flags of internal/workload, and -static.
flags=(-O2 -g -fno-omit-frame-pointer -pthread -Wall -Wextra -Werror -static)
case "$arch" in
amd64) cc=gcc narrow=386 ;;
arm64) cc=aarch64-linux-gnu-gcc narrow=arm ;;
*)
    echo "kernel-root: no virtual machine for the architecture $arch" >&2
    exit 2
    ;;
esac
# The compiler of this machine's own architecture has no prefix.
[ "$arch" != "$(go env GOHOSTARCH)" ] || cc=gcc

rm -rf "$root"
mkdir -p "$root/bin" "$root/programs/bare"
CGO_ENABLED=0 GOARCH=$arch go build -trimpath -ldflags='-s -w' -o "$root/bin/sockleak" ./cmd/sockleak
for source in internal/workload/testdata/*.c; do
    program=$(basename "$source" .c)
    "$cc" "${flags[@]}" -o "$root/programs/$program" "$source"
done
# As BuildBare makes it.
"$cc" "${flags[@]}" -fomit-frame-pointer -o "$root/programs/bare/leak_classes" internal/workload/testdata/leak_classes.c
CGO_ENABLED=0 GOARCH=$narrow go build -trimpath -o "$root/programs/compat" ./internal/kerneltest/testdata/compat
# What the programs of the tests exec.
echo 'int main(void) { return 0; }' | "$cc" "${flags[@]}" -x c -o "$root/bin/true" -
