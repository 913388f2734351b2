#!/usr/bin/env bash
# Installs what a task needs, and only what is missing, from Debian's packages.
#
#   scripts/setup.sh demo | test | casebook | generate | kernels
#
# Exit status: 0 all is there, 1 something the task can't do without is not.
set -euo pipefail

case "${1:-}" in
demo) needed="g++"; optional="" ;;
test) needed="gcc"; optional="python3 node g++ rustc javac ruby musl-gcc python3-uvloop uv.h openssl" ;; # cgo for -race, the test programs
casebook) # the languages of the programs, and what they use of them
    needed="ip nft nsenter"
    optional="gcc g++ node ruby python3 javac rustc libssl-dev ruby-eventmachine python3-requests" ;;
generate) needed="clang-19 llvm-strip-19 bpf_helpers.h"; optional="" ;;
kernels) needed="gcc aarch64-linux-gnu-gcc qemu-system-x86_64 qemu-system-aarch64 debian-archive-keyring"; optional="" ;;
*)
    echo "usage: $0 demo|test|casebook|generate|kernels" >&2
    exit 2
    ;;
esac

have() {
    case "$1" in
    # A compiler without the C library's headers is of no use.
    gcc | g++) command -v "$1" >/dev/null && [ -e /usr/include/stdlib.h ] ;;
    uv.h) [ -e /usr/include/uv.h ] ;;
    aarch64-linux-gnu-gcc) command -v "$1" >/dev/null && [ -e /usr/aarch64-linux-gnu/include/stdlib.h ] ;;
    bpf_helpers.h) [ -e /usr/include/bpf/bpf_helpers.h ] ;;
    # Debian's own: its modules are packages.
    python3) [ -x /usr/bin/python3 ] ;;
    python3-*) /usr/bin/python3 -c "import ${1#python3-}" 2>/dev/null ;;
    ruby-*) ruby -e "require '${1#ruby-}'" 2>/dev/null ;;
    libssl-dev) [ -e /usr/include/openssl/ssl.h ] ;;
    debian-archive-keyring) [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

# The packages that bring a tool.
packages_of() {
    case "$1" in
    gcc) echo gcc libc6-dev ;;
    aarch64-linux-gnu-gcc) echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross ;;
    g++) echo g++ libc6-dev ;;
    bpf_helpers.h) echo libbpf-dev ;;
    uv.h) echo libuv1-dev ;;
    llvm-strip-19) echo llvm-19 ;;
    node) echo nodejs ;;
    javac) echo default-jdk-headless ;;
    ip) echo iproute2 ;;
    nft) echo nftables ;;
    nsenter) echo util-linux ;;
    musl-gcc) echo musl-tools ;;
    qemu-system-x86_64) echo qemu-system-x86 ;;
    qemu-system-aarch64) echo qemu-system-arm ;;
    *) echo "$1" ;;
    esac
}

why_of() {
    case "$1" in
    gcc) echo "compiles the test programs, and Go's race detector needs it" ;;
    openssl) echo "makes the certificate of a test server; its test is skipped without" ;;
    g++) echo "compiles the demo program" ;;
    aarch64-linux-gnu-gcc) echo "compiles the test programs for arm64" ;;
    clang-19 | llvm-strip-19 | bpf_helpers.h) echo "compiles the BPF programs" ;;
    qemu-system-*) echo "boots other kernels" ;;
    debian-archive-keyring) echo "proves that the kernels are Debian's" ;;
    ip | nft | nsenter) echo "makes the network namespaces of the casebook" ;;
    *) echo "for test programs in that language or with that library, which are left out without" ;;
    esac
}

missing=() packages=()
for tool in $needed $optional; do
    if ! have "$tool"; then
        missing+=("$tool")
        read -ra more <<<"$(packages_of "$tool")"
        packages+=("${more[@]}")
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif [ -t 0 ]; then
        sudo "$@" # may ask for the password
    else
        sudo -n "$@"
    fi
}

install_missing() {
    if ! command -v apt-get >/dev/null; then
        echo "setup: this machine has no apt-get" >&2
        return 1
    fi
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        echo "setup: installing needs root, and there is no sudo" >&2
        return 1
    fi
    local log
    log=$(mktemp)
    apt() { as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=120 "$@" >>"$log" 2>&1 </dev/null; }
    # The lists of packages may be old, or not there at all on a new machine.
    if apt install -y --no-install-recommends "${packages[@]}" ||
        { apt update && apt install -y --no-install-recommends "${packages[@]}"; }; then
        rm -f "$log"
        return 0
    fi
    echo "setup: apt-get failed:" >&2
    tail -n 5 "$log" >&2
    rm -f "$log"
    return 1
}

echo "setup: installing ${packages[*]}" >&2
install_missing || true

status=0
for tool in "${missing[@]}"; do
    have "$tool" && continue
    echo "setup: $tool is missing ($(why_of "$tool")); install: $(packages_of "$tool")" >&2
    case " $needed " in *" $tool "*) status=1 ;; esac
done
exit $status
