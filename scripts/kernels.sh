#!/usr/bin/env bash
# Fetches Debian's kernels for the tests in virtual machines. apt does it, with
# lists and keys of its own: nothing is installed and the apt of this machine
# does not change.
#
#   scripts/kernels.sh DIR ARCH/SERIES...      e.g. build/kernels amd64/6.1
#
# Writes DIR/ARCH/SERIES/vmlinuz, and the package's version beside it in
# "release". What is there already is kept. The archive is that of this
# machine's apt, or $DEBIAN_ARCHIVE and $DEBIAN_SECURITY_ARCHIVE.
#
# Exit status: 0 all there, 1 one or more could not be fetched (the others are).
set -euo pipefail

# The suites that may have a series, the best first.
suites_of() { # SERIES
    case "$1" in
    5.10) echo bullseye-security bullseye ;;
    6.1) echo bookworm-security bookworm ;;
    6.12) echo trixie-security trixie ;;
    *) echo trixie-backports sid ;;
    esac
}

keyring=/usr/share/keyrings/debian-archive-keyring.gpg

own_archive() { # debian|debian-security
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 -E "/$1/?\$" || true
}

find_archives() {
    main=${DEBIAN_ARCHIVE:-$(own_archive debian)}
    security=${DEBIAN_SECURITY_ARCHIVE:-$(own_archive debian-security)}
    if [ -z "$main" ] || [ -z "$security" ]; then
        echo "kernels: no Debian archive among this machine's apt sources: set DEBIAN_ARCHIVE and DEBIAN_SECURITY_ARCHIVE" >&2
        return 1
    fi
}

# Makes the apt in $apt, of one suite and architecture, and reads its lists.
prepare_apt() { # SUITE ARCH
    local archive=$main
    case "$1" in *-security) archive=$security ;; esac
    mkdir -p "$apt"/{etc,state/lists/partial,cache/archives/partial}
    : >"$apt/state/status"
    echo "deb [signed-by=$keyring arch=$2] $archive $1 main" >"$apt/etc/sources.list"
    {
        # This machine's proxies, but not its hooks.
        apt-config dump | grep -E '^Acquire::(http|https|Retries|Check)' || true
        cat <<CONF
Dir::Etc::parts "/dev/null";
Dir::Etc::main "/dev/null";
Dir::Etc::sourcelist "$apt/etc/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State "$apt/state";
Dir::State::status "$apt/state/status";
Dir::Cache "$apt/cache";
APT::Architecture "$2";
APT::Architectures { "$2"; };
APT::Sandbox::User "$(id -un)";
Acquire::Languages "none";
Acquire::Retries "2";
CONF
    } >"$apt/apt.conf"
    export APT_CONFIG=$apt/apt.conf
    timeout 120 apt-get -qq update
}

# The three newest kernels of a series that apt knows, the newest first: it may
# be gone from the archive already. Cloud kernels are small and have what a
# virtual machine needs built in.
releases() { # SERIES ARCH
    apt-cache pkgnames linux- |
        sed -nE "s/^linux-(image|binary)-(${1//./\\.}\\.[0-9][-+.a-z0-9]*-cloud-$2)\$/\\2/p" |
        sort -Vru | sed -n 1,3p
}

# Puts the image that is in a package to a file; false if there is none.
unpack_image() { # DEB FILE
    # tar fails for the one of the two places that is not there.
    dpkg-deb --fsys-tarfile "$1" |
        tar -xO --wildcards './boot/vmlinuz-*' './usr/lib/modules/*/vmlinuz' >"$2" 2>/dev/null || true
    [ -s "$2" ]
}

# In a subshell: the caller's apt is not this one.
fetch() ( # ARCH SERIES SUITE
    apt=$dir/apt/$3-$1
    prepare_apt "$3" "$1" || exit 1
    for release in $(releases "$2" "$1"); do
        # From 6.19 on the image is in linux-binary and linux-image is empty.
        for package in "linux-binary-$release" "linux-image-$release"; do
            rm -rf "$apt/deb" && mkdir "$apt/deb"
            (cd "$apt/deb" && timeout 300 apt-get -qq download "$package" 2>/dev/null) || continue
            if unpack_image "$apt"/deb/*.deb "$apt/vmlinuz"; then
                mkdir -p "$dir/$1/$2"
                echo "$release" >"$dir/$1/$2/release"
                mv "$apt/vmlinuz" "$dir/$1/$2/vmlinuz"
                rm -rf "$apt/deb"
                exit 0
            fi
        done
    done
    exit 1
)

if [ $# -lt 2 ]; then
    echo "usage: $0 DIR ARCH/SERIES..." >&2
    exit 2
fi
mkdir -p "$1"
dir=$(cd "$1" && pwd)
shift

status=0
archives=
for kernel; do
    [ -s "$dir/$kernel/vmlinuz" ] && continue
    [ -n "$archives" ] || { find_archives && archives=found; } || exit 1
    for suite in $(suites_of "${kernel#*/}"); do
        if fetch "${kernel%/*}" "${kernel#*/}" "$suite" </dev/null; then
            echo "kernels: $kernel is $(cat "$dir/$kernel/release") of $suite" >&2
            continue 2
        fi
    done
    echo "kernels: $kernel COULD NOT BE FETCHED: not in $(suites_of "${kernel#*/}")" >&2
    status=1
done
exit $status
