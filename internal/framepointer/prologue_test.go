package framepointer

import "testing"

func TestPushed(t *testing.T) {
	for _, test := range []struct {
		name string
		code []byte
		want Pushed
		ok   bool
	}{
		{"nothing", []byte{0xb8, 0x29, 0, 0, 0, 0x0f, 0x05}, Pushed{}, true},           // mov $41, %eax; syscall
		{"endbr64", []byte{0xf3, 0x0f, 0x1e, 0xfa, 0x0f, 0x05}, Pushed{}, true},        // endbr64; syscall
		{"push", []byte{0x53, 0x0f, 0x05}, Pushed{Bytes: 8}, true},                     // push %rbx
		{"sub", []byte{0x48, 0x83, 0xec, 0x18, 0x0f, 0x05}, Pushed{Bytes: 0x18}, true}, // sub $24, %rsp
		{"frame pointer", []byte{0x55, 0x53, 0x48, 0x83, 0xec, 0x08},
			Pushed{Bytes: 24, FP: 16, HasFP: true}, true}, // push %rbp; push %rbx; sub $8, %rsp
		{"early return", []byte{0x53, 0x74, 0x02, 0x5b, 0xc3, 0x0f, 0x05},
			Pushed{Bytes: 8}, true}, // push %rbx; je +2; pop %rbx; ret; syscall
		{"aligned", []byte{0x48, 0x83, 0xe4, 0xf0}, Pushed{}, false},       // and $-16, %rsp
		{"other stack", []byte{0x48, 0x89, 0xfc}, Pushed{}, false},         // mov %rdi, %rsp
		{"too much back", []byte{0x48, 0x83, 0xc4, 0x08}, Pushed{}, false}, // add $8, %rsp
		{"by a register", []byte{0x48, 0x29, 0xc4, 0x90}, Pushed{}, false}, // sub %rax, %rsp
		{"not decodable", []byte{0x06}, Pushed{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got, ok := pushedX86(test.code); got != test.want || ok != test.ok {
				t.Errorf("got %+v, %v, want %+v, %v", got, ok, test.want, test.ok)
			}
		})
	}
}
