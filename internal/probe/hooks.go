package probe

import (
	"slices"

	"github.com/cilium/ebpf"
)

// hook is a syscall tracepoint and the program for it.
type hook struct {
	name     string
	program  func(*bpfPrograms) *ebpf.Program
	optional bool // not on every kernel or architecture
}

// useHooks are those of --last-use.
func useHooks(p *usesPrograms) map[string]*ebpf.Program {
	return map[string]*ebpf.Program{
		"sys_exit_read": p.ExitRead, "sys_exit_readv": p.ExitReadv,
		"sys_exit_recvfrom": p.ExitRecvfrom, "sys_exit_recvmsg": p.ExitRecvmsg,
		"sys_exit_write": p.ExitWrite, "sys_exit_writev": p.ExitWritev,
		"sys_exit_sendto": p.ExitSendto, "sys_exit_sendmsg": p.ExitSendmsg,
		"sys_exit_shutdown": p.ExitShutdown, "sys_exit_epoll_ctl": p.ExitEpollCtl,
		"sys_exit_getsockopt": p.ExitGetsockopt,
	}
}

// The hooks in the order they are attached. What takes descriptors away comes
// first, so that nothing is believed open that was closed meanwhile. Calls that are
// handled alike have one program, because loading it is most of what starting takes.
func hooks() []hook {
	return []hook{
		{"sys_enter_close", func(p *bpfPrograms) *ebpf.Program { return p.EnterClose }, false},
		// close_range(2) came with 5.9.
		{"sys_enter_close_range", func(p *bpfPrograms) *ebpf.Program { return p.EnterCloseRange }, true},
		{"sys_exit_close_range", func(p *bpfPrograms) *ebpf.Program { return p.ExitCloseRange }, true},
		// arm64 has no dup2; libc uses dup3.
		{"sys_enter_dup2", func(p *bpfPrograms) *ebpf.Program { return p.EnterDup3 }, true},
		{"sys_exit_dup2", func(p *bpfPrograms) *ebpf.Program { return p.ExitDup3 }, true},
		{"sys_enter_dup3", func(p *bpfPrograms) *ebpf.Program { return p.EnterDup3 }, false},
		{"sys_exit_dup3", func(p *bpfPrograms) *ebpf.Program { return p.ExitDup3 }, false},
		{"sys_exit_dup", func(p *bpfPrograms) *ebpf.Program { return p.ExitDup }, false},
		{"sys_exit_fcntl", func(p *bpfPrograms) *ebpf.Program { return p.ExitFcntl }, false},
		{"sys_enter_unshare", func(p *bpfPrograms) *ebpf.Program { return p.EnterUnshare }, false},
		{"sys_exit_unshare", func(p *bpfPrograms) *ebpf.Program { return p.ExitUnshare }, false},
		{"sys_enter_execve", func(p *bpfPrograms) *ebpf.Program { return p.EnterExecve }, false},
		{"sys_exit_execve", func(p *bpfPrograms) *ebpf.Program { return p.ExitExecve }, false},
		{"sys_enter_execveat", func(p *bpfPrograms) *ebpf.Program { return p.EnterExecve }, false},
		{"sys_exit_execveat", func(p *bpfPrograms) *ebpf.Program { return p.ExitExecve }, false},
		{"sys_exit_socket", func(p *bpfPrograms) *ebpf.Program { return p.ExitSocket }, false},
		{"sys_exit_socketpair", func(p *bpfPrograms) *ebpf.Program { return p.ExitSocket }, false},
		{"sys_exit_accept", func(p *bpfPrograms) *ebpf.Program { return p.ExitSocket }, false},
		{"sys_exit_accept4", func(p *bpfPrograms) *ebpf.Program { return p.ExitSocket }, false},
		{"sys_exit_connect", func(p *bpfPrograms) *ebpf.Program { return p.ExitConnect }, false},
	}
}

// births are the hooks of the calls that make sockets.
func births(p *bpfPrograms) []hook {
	return slices.DeleteFunc(hooks(), func(h hook) bool { return h.program(p) != p.ExitSocket })
}
