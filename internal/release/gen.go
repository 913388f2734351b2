package release

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package release -type socket_file -type scope_rule release ../../bpf/release.bpf.c -- -O2 -g -mcpu=v3 -Wall -Wextra -Werror
