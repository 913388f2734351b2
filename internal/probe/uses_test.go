package probe

import "testing"

// TestUses: what tells that a socket is over is an event of its own, with
// LastUse; what works as usual, or is only to be tried again, is none.
func TestUses(t *testing.T) {
	scenarioWith(t, Config{Stacks: true, LastUse: true}, `
		socketpair 1 1 0
		socket 2 2050 0
		connect-nowhere 22
		epoll 21`, func(k *trace) {
		k.do(`
		write 20 5
		read 21 5
		read 21 0
		shutdown 20 1
		read 21 5
		epoll-del 23 21
		close 21
		write 20 5 errno=32
		write 22 1
		so-error 22
		so-error 22
		read 22 5 errno=11`)
		k.check(`
		use fd=20 inode=1 op=shutdown stack
		use fd=21 inode=2 op=read stack
		use fd=21 inode=2 op=epoll-del stack
		close fd=21 inode=2
		use fd=20 inode=1 op=write errno=32 stack
		use fd=22 inode=3 op=so-error errno=111 stack`, `
		fd=20 inode=1 sock=u_str/ESTAB known=hwldp peer-gone begun was-established rcv-shutdown snd-shutdown
		fd=22 inode=3 sock=udp/ESTAB/127.0.0.1:P0>127.0.0.1:1 known=qwkld bound`)
	})
}
