package asked

import (
	"debug/elf"
	"encoding/hex"
	"strings"
	"testing"
)

// The functions of Node 20 and of Debian's libuv 1.44 begin like this.
func TestEmulated(t *testing.T) {
	for _, test := range []struct {
		name, code string
		want       uint64
	}{
		{"push rbp", "55 ba0c000000 4889e5", 0},
		{"xor edx,edx; jmp", "31d2 e9d9ffffff", 2},
		{"mov eax,edx; push r12", "89d0 4154", 2},
		{"cmp [rsi+16],12; mov r8,rcx; jne", "837e100c 4989c8 752f", 7},
		{"test [rdi+88],3; jne near", "f6475803 0f8599000000", 4},
		{"endbr64; push rbx", "f30f1efa 53", 4},
		{"sub rsp,8; push rbp", "4883ec08 55", 0},
		{"mov edi,eax; push rbp", "89c7 55", 0},
		{"mov rsi,rax; push rbp", "4889c6 55", 0},
		{"xor edx,edx; call", "31d2 e800000000 55", 0},
		{"mov [rdi],rax; push rbp", "488907 55", 0},
		{"xor edx,edx; push 8", "31d2 6a08 55", 0},
		{"garbage", "0f0b", 0},
		{"nothing", "", 0},
	} {
		code, err := hex.DecodeString(strings.ReplaceAll(test.code, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		if got := emulated(elf.EM_X86_64, code); got != test.want {
			t.Errorf("%s: got %d, want %d", test.name, got, test.want)
		}
	}
	if got := emulated(elf.EM_AARCH64, []byte{0x55}); got != 0 {
		t.Errorf("arm64: got %d", got)
	}
}
