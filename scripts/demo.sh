#!/usr/bin/env bash
# Starts a program that leaks, attaches sockleak to it, and checks that the
# three leaks are found. Both are built by the Makefile before.
#
#   scripts/demo.sh SOCKLEAK CRAWLER
set -euo pipefail

sockleak=$1 crawler=$2
before=4 watch=15
report=$(mktemp)
pid=

finish() {
    if [ -n "$pid" ]; then
        kill "$pid" 2>/dev/null || true # ended by itself
        wait "$pid" 2>/dev/null || true # killed: that is its status
    fi
    rm -f "$report"
}
trap finish EXIT

root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "demo: tracing needs root, and there is no sudo: run make demo as root" >&2
        exit 1
    fi
    root=(sudo)
    "${root[@]}" true # asks for the password now, not while the program leaks
fi

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

"$crawler" 60 &
pid=$!
say "A crawler (scripts/demo/crawler.cpp) runs as pid $pid. After $before s, unwatched:"
sleep "$before"
ls -l "/proc/$pid/fd" | awk '/socket:/ {n++} END {print n+0 " sockets open, and nobody knows why"}'

say "\$ sudo sockleak attach $pid --for ${watch}s"
status=0
"${root[@]}" "$sockleak" attach "$pid" --for "${watch}s" | tee "$report" || status=$?
if [ "$status" -ne 1 ]; then
    echo "demo: sockleak ended with status $status, want 1 (findings)" >&2
    exit 1
fi

# Whether one finding of the report, from its number to the next one's, has both.
reported() { # CLASS FUNCTION
    awk -v class="($1)" -v function_name="$2" '
        /^[0-9]+\. / { in_class = index($0, class) > 0 }
        in_class && index($0, function_name) { found = 1 }
        END { exit !found }' "$report"
}

missing=0
expect() { # CLASS FUNCTION
    if reported "$1" "$2"; then
        printf '  found      %-15s made in %s\n' "$1" "$2"
    else
        printf '  NOT FOUND  %-15s made in %s\n' "$1" "$2"
        missing=1
    fi
}
say "The three leaks of the crawler:"
expect never-used Crawler::prefetch
expect connect-failed Crawler::fetch_from_mirror
expect peer-closed Crawler::poll_feed
exit $missing
