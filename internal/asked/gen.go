package asked

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package asked -type ask -type ask_via -type ask_counter -type ask_next asked ../../bpf/asked.bpf.c -- -O2 -g -mcpu=v3 -Wall -Wextra -Werror
