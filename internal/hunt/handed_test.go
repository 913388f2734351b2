package hunt_test

import (
	"bytes"
	"net"
	"os/exec"
	"testing"
	"time"

	"sockleak/internal/needs"
	"sockleak/internal/verdict"
	"sockleak/internal/workload"
)

// handed starts a program that holds connections that this process accepted, from
// three peers that have closed them since, and neither the listener nor its origin.
func handed(t *testing.T) (pid int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	cmd := exec.Command(workload.Build(t, "leak_never"), "--then-on-command") // it does nothing with them
	if _, err := cmd.StdinPipe(); err != nil {                                // at whose end it would end
		t.Fatal(err)
	}
	for _, from := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
		client, err := d.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		accepted, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		file, err := accepted.(*net.TCPConn).File()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		_ = accepted.Close()
		_ = client.Close()
		cmd.ExtraFiles = append(cmd.ExtraFiles, file)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

// The connections of a worker that another process accepted for it are one finding,
// and so they are in a recording, which has nothing of that process but the port.
func TestHandedConnections(t *testing.T) {
	needs.Root(t)
	cfg := config(3 * time.Second)
	cfg.Judgement.Patience.MinAge, cfg.Interval = time.Second, 500*time.Millisecond
	cfg.Probe.Scope.PIDs = []uint32{uint32(handed(t))}
	var recorded bytes.Buffer
	cfg.Record = &recorded
	r := trace(t, t.Context(), cfg)
	if len(r.Findings) != 1 || r.Findings[0].Class != verdict.PeerClosed || r.Findings[0].Count != 3 || len(r.Findings[0].Peers) != 3 {
		t.Fatalf("findings %+v", r.Findings)
	}
	checkReplay(t, recorded.Bytes(), r)
}
