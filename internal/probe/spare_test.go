package probe

import (
	"io"
	"slices"
	"testing"

	"sockleak/internal/tracepoint"
)

// Where programs are preempted the one that sends births is attached twice: each is sent
// once, and by the second if the kernel left out the first.
func TestSpare(t *testing.T) {
	for name, alone := range map[string]bool{"both": false, "the second alone": true} {
		t.Run(name, func(t *testing.T) {
			scenarioWith(t, Config{preempted: true}, ``, func(k *trace) {
				if alone {
					k.leaveOutFirst()
				}
				before := k.takenOver()
				k.do(`
				socket 2 1 0
				bind 20 0
				listen 20 7
				socket 2 1 0
				connect 21 20
				accept 20
				socketpair 1 1 0
				socket 99 1 0 errno=97
				socket 2 2 0`)
				k.check(`
				socket comm=exe fd=20 inode=1 stack sock=tcp/CLOSE
				socket comm=exe fd=21 inode=2 stack sock=tcp/CLOSE
				connect fd=21 inode=2 sock=tcp/ESTAB/127.0.0.1:P0>127.0.0.1:P1
				accept comm=exe fd=22 fd2=20 inode=3 inode2=1 stack sock=tcp/ESTAB/127.0.0.1:P1>127.0.0.1:P0
				pair comm=exe fd=23 fd2=24 inode=4 inode2=5 stack sock=u_str/ESTAB
				pair comm=exe fd=24 fd2=23 inode=5 inode2=4 stack sock=u_str/ESTAB
				socket comm=exe fd=25 inode=6 stack sock=udp/UNCONN
				tcp inode=1 was=CLOSE sock=tcp/LISTEN/127.0.0.1:P1>-
				tcp inode=2 was=CLOSE sock=tcp/SYN-SENT/->127.0.0.1:P1
				tcp inode=2 was=SYN-SENT sock=tcp/ESTAB/127.0.0.1:P0>127.0.0.1:P1`, `
				fd=20 inode=1 sock=tcp/LISTEN/127.0.0.1:P1>- known=qwkld send-q=7 bound
				fd=21 inode=2 sock=tcp/ESTAB/127.0.0.1:P0>127.0.0.1:P1 known=qabhwkldu begun was-established bound
				fd=22 inode=3 sock=tcp/ESTAB/127.0.0.1:P1>127.0.0.1:P0 known=qabhwkldu begun was-established bound
				fd=23 inode=4 sock=u_str/ESTAB known=hwldp peer=5 begun was-established
				fd=24 inode=5 sock=u_str/ESTAB known=hwldp peer=4 begun was-established
				fd=25 inode=6 sock=udp/UNCONN known=qwkld`)
				missed, err := tracepoint.Skipped(k.probe.objects.ExitSocket)
				if err != nil {
					k.t.Fatal(err)
				}
				if n := k.takenOver() - before; alone && n != 5 || !alone && n > missed {
					k.problem("the second took over %d births; the first was left out %d times", n, missed)
				}
			})
		})
	}
}

// leaveOutFirst detaches the first of the two.
func (k *trace) leaveOutFirst() {
	k.t.Helper()
	p := k.probe
	attached := slices.DeleteFunc(hooks(), func(h hook) bool { return slices.Contains(p.missing, h.name) })
	first := len(p.links) - len(births(&p.objects.bpfPrograms)) - len(attached)
	var left []io.Closer
	for i, l := range p.links {
		if call := i - first; call < 0 || call >= len(attached) || attached[call].program(&p.objects.bpfPrograms) != p.objects.ExitSocket {
			left = append(left, l)
			continue
		}
		if err := l.Close(); err != nil {
			k.t.Fatal(err)
		}
	}
	p.links = left
}

// takenOver is how many births the second sent.
func (k *trace) takenOver() (n uint64) {
	k.t.Helper()
	if err := k.probe.objects.Counters.Lookup(uint32(bpfCounterCOUNT_TAKEN_OVER), &n); err != nil {
		k.t.Fatal(err)
	}
	return n
}
