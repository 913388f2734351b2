# What is there to do with sockleak. Each target installs what it needs and
# finds missing (scripts/setup.sh); building needs nothing but Go.
SHELL   := /bin/bash
BUILD   := build

DEMO_CXXFLAGS := -std=c++20 -O2 -g -fno-omit-frame-pointer -Wall -Wextra -Werror -pthread
FUZZTIME ?= 10s
KERNELS ?= amd64/5.10 amd64/6.1 amd64/6.12 amd64/6.18 amd64/7.2 arm64/5.10 arm64/6.1 arm64/6.12
# What bpf2go writes.
GENERATED := '*_bpfel.go' '*_bpfel.o'

.PHONY: help build demo test casebook test-kernels lint generate check-generated bench fuzz clean
help:
	@echo 'make demo             see sockleak find three leaks (under a minute)'
	@echo 'make test             all tests that can pass here; says what it skipped'
	@echo 'make casebook         leaking programs in eight languages and their healthy twins; writes docs/casebook.md'
	@echo 'make build            $(BUILD)/sockleak'
	@echo 'make test-kernels     the tests that trace, inside other kernels (KERNELS="$(KERNELS)")'
	@echo 'make lint             gofmt, go vet, staticcheck'
	@echo 'make generate         compile the BPF programs anew'
	@echo 'make check-generated  fail if that changes what is committed'
	@echo 'make bench            cost per event, per socket, per snapshot; the slowdown of a target'
	@echo 'make fuzz             each fuzz test for FUZZTIME=$(FUZZTIME)'
	@echo 'make clean            remove $(BUILD)'

build:
	@mkdir -p $(BUILD)
	CGO_ENABLED=0 go build -trimpath -o $(BUILD)/sockleak ./cmd/sockleak

$(BUILD)/crawler: scripts/demo/crawler.cpp
	@scripts/setup.sh demo
	@mkdir -p $(BUILD)
	@g++ $(DEMO_CXXFLAGS) -o $@ $<

demo: build $(BUILD)/crawler
	@scripts/demo.sh $(BUILD)/sockleak $(BUILD)/crawler

test: lint
	@scripts/test.sh

# As root, for it traces; -v, because the times to the first finding are the result.
# With CI set nothing is written, and a missing language fails.
casebook:
	@scripts/setup.sh casebook
	go test ./casebook -count 1 -v -timeout 20m -casebook $(if $(CI),,-write)

# In software emulation, a virtual machine for each CPU: some half an hour on two.
test-kernels:
	@scripts/test-kernels.sh $(BUILD)/kernels $(KERNELS)

lint:
	@unformatted=$$(gofmt -l bpf casebook cmd docs internal scripts); \
		if [ -n "$$unformatted" ]; then echo "not formatted with gofmt:"; echo "$$unformatted"; exit 1; fi
	go vet ./...
	go tool staticcheck ./...

generate:
	@scripts/setup.sh generate
	go generate ./...

check-generated: generate
	git diff --exit-code -- $(GENERATED)
	@new=$$(git ls-files --others -- $(GENERATED)); \
		if [ -n "$$new" ]; then echo "generated and not committed:"; echo "$$new"; exit 1; fi

bench:
	go test -run '^$$' -bench . -benchmem -p 1 ./...

# go test fuzzes one target at a time.
fuzz:
	@set -euo pipefail; \
	grep -rl --include='*_test.go' '^func Fuzz' internal | while read -r file; do \
		for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' "$$file"); do \
			echo "$$(dirname "$$file"): $$target"; \
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")"; \
		done; \
	done

clean:
	rm -rf $(BUILD)
