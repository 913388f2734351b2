#!/usr/bin/env bash
# Runs all tests that can pass on this machine, with the race detector, and
# ends with what failed and what was skipped and why.
#
#   scripts/test.sh [PACKAGE...]      default: ./...
set -euo pipefail
cd "$(dirname "$0")/.."
[ $# -gt 0 ] || set -- ./...

# Without the compiler cgo and with it the race detector are off.
race=(-race)
if ! scripts/setup.sh test; then
    race=()
    echo "test: no C compiler: WITHOUT the race detector and the tests that run C programs" >&2
fi

# Tests that trace need root. Built as the user, run as root, so that the
# caches keep their owner.
exec_as=()
if [ "$(id -u)" -ne 0 ]; then
    if sudo -n true 2>/dev/null; then
        exec_as=(-exec "sudo -n -E")
    else
        echo "test: not root, and sudo -n does not work: tests that trace are SKIPPED (run make test as root)" >&2
    fi
fi

# One package at a time: several trace the whole machine, and they would see
# each other's programs.
exec go tool gotestsum --format pkgname-and-test-fails -- \
    "${race[@]}" -timeout 10m -p 1 "${exec_as[@]}" "$@"
