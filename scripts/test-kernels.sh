#!/usr/bin/env bash
# Runs the tests that trace inside other kernels, in a virtual machine for each,
# and ends with a table of the results.
#
#   scripts/test-kernels.sh DIR ARCH/SERIES...     DIR is kept between runs
#
# PACKAGES              which tests (default: those that trace)
# RUN                   only tests of these names: a regular expression
# TIMEOUT               for a package on a kernel, boot included (default: 15m;
#                       kerneltest took 5 to 10 of them)
# JOBS                  how many virtual machines run at once (default: one for each
#                       CPU; an emulated machine keeps one busy, and takes 1 GiB)
# KERNELS_OPTIONAL=1    a kernel that could not be fetched is no failure
#
# Exit status: 0 every test passed, or was skipped with reason, on every kernel.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${1:?usage: $0 DIR ARCH/SERIES...}
shift
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
read -ra packages <<<"${PACKAGES:-./internal/tracepoint ./internal/probe ./internal/release ./internal/hunt ./internal/kerneltest}"

scripts/setup.sh kernels
status=0
if ! scripts/kernels.sh "$dir" "$@" && [ "${KERNELS_OPTIONAL:-}" != 1 ]; then
    status=1
fi

build_vmtest() { # ARCH FILE
    CGO_ENABLED=0 GOARCH=$1 go build -trimpath -ldflags='-s -w' -o "$2" ./internal/vmtest
}
build_vmtest "$(go env GOHOSTARCH)" "$dir/vmtest"

# Of package hunt's: what takes too long on an emulated CPU, and says nothing of a
# kernel that kerneltest does not say; and the programs of languages, and libuv's,
# that the guest does not have.
slow='TestHunt|TestPreexisting|TestLoss|TestBenchRecords|TestLastUseRate|TestCommandBegins|TestForkedDuringAttach'
foreign='TestAskedFor|TestAskedWays|TestAskedCoroutine|TestStartedBy|TestLastUsePython'
skip="^($slow|$foreign)\$"

# A failure is in the results, and the table's status says so. One package at a
# time: a virtual machine keeps a CPU busy.
test_kernel() { # KERNEL
    local arch=${1%/*}
    local run=("$dir/vmtest" run -kernel "$dir/$1/vmlinuz" -arch "$arch" -init "$dir/init-$arch"
        -root "$dir/root-$arch" -env SOCKLEAK_VIRTUAL=1 -env SOCKLEAK_PROGRAMS=/programs -env SOCKLEAK=/bin/sockleak
        -console "$dir/$1/console.log" -timeout "${TIMEOUT:-15m}")
    CGO_ENABLED=0 GOARCH=$arch go test -json -short -count=1 -vet=off -p 1 -timeout 30m -run "${RUN:-.}" -skip "$skip" \
        -exec "${run[*]}" "${packages[@]}" >"$dir/$1/results.json" || true
    echo "kernels: $1 is done after $((SECONDS / 60)) min $((SECONDS % 60)) s" >&2
}

# Each in a process group of its own, so that what is interrupted leaves no virtual
# machine behind.
set -m
trap 'for pid in $(jobs -p); do kill -- "-$pid" 2>/dev/null || true; done' EXIT

columns=()
declare -A made=()
jobs=${JOBS:-$(nproc)}
for kernel; do
    [ -s "$dir/$kernel/vmlinuz" ] || continue
    arch=${kernel%/*}
    if [ ! -v "made[$arch]" ]; then
        build_vmtest "$arch" "$dir/init-$arch"
        scripts/kernel-root.sh "$dir/root-$arch" "$arch"
        made[$arch]=1
    fi
    while [ "$(jobs -rp | wc -l)" -ge "$jobs" ]; do wait -n; done
    echo "kernels: $kernel is running" >&2
    test_kernel "$kernel" &
    columns+=("$kernel=$dir/$kernel/results.json")
done
wait

if [ ${#columns[@]} -eq 0 ]; then
    echo "kernels: none to test on" >&2
    exit 1
fi
"$dir/vmtest" table "${columns[@]}" || status=1
for kernel; do
    [ -s "$dir/$kernel/vmlinuz" ] || echo "$kernel: NOT TESTED, it could not be fetched"
done
exit $status
