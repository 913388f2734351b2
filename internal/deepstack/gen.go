package deepstack

//go:generate go tool bpf2go -cc clang-19 -strip llvm-strip-19 -target amd64,arm64 -go-package deepstack -type deep_birth -type deep_outcome -type deep_counter -type deep_next deep ../../bpf/deepstack.bpf.c -- -O2 -g -mcpu=v3 -Wall -Wextra -Werror
