package deepstack

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sockleak/internal/needs"
)

// The time that a socket takes in a program that does nothing else, with nobody
// looking, and with its stacks taken, the same again and again.
func BenchmarkSocket(b *testing.B) {
	needs.Root(b)
	exe := b.TempDir() + "/native"
	if out, err := exec.Command("gcc", "-O2", "-fomit-frame-pointer", "-o", exe, "testdata/native.c").CombinedOutput(); err != nil {
		b.Skipf("needs gcc: %v: %s", err, out)
	}
	const perRound = 3 // a socket, a pair and an accept
	round := func(b *testing.B, depth string) {
		began := time.Now()
		if err := exec.Command(exe, depth, "0", strconv.Itoa(b.N)).Run(); err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(time.Since(began).Nanoseconds())/float64(perRound*b.N), "ns/socket")
	}
	depths := []string{"0", "90"} // more than 7 frames
	for _, d := range depths {
		b.Run("untraced/"+d, func(b *testing.B) { round(b, d) })
	}
	tier := open(b, Options{})
	done, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-done:
				return
			case <-time.After(10 * time.Millisecond):
				if err := tier.Poll(func(Birth) {}); err != nil {
					b.Error(err)
				}
			}
		}
	}()
	for _, d := range depths {
		b.Run("deep/"+d, func(b *testing.B) {
			cpu := cpuTime(b)
			round(b, d)
			b.ReportMetric(float64((cpuTime(b)-cpu).Nanoseconds())/float64(perRound*b.N), "agent-ns/socket")
		})
	}
	close(done)
	<-stopped
	l, err := tier.Loss()
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%+v", l)
}

// What the Tier costs while there is nothing to do.
func BenchmarkIdle(b *testing.B) {
	// In scope is a process that makes no socket, and not all that starts and
	// ends on the machine meanwhile.
	quiet := exec.Command("sleep", "60")
	if err := quiet.Start(); err != nil {
		b.Fatal(err)
	}
	defer end(quiet)
	tier := open(b, Options{PIDs: []uint32{uint32(quiet.Process.Pid)}})
	time.Sleep(2 * time.Second) // what starting left to do
	cpu, began := cpuTime(b), time.Now()
	for time.Since(began) < 5*time.Second {
		time.Sleep(50 * time.Millisecond)
		if err := tier.Poll(func(Birth) {}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(100*(cpuTime(b)-cpu).Seconds()/time.Since(began).Seconds(), "%cpu")
	b.ReportMetric(resident(b), "MB-RSS")
}

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func resident(b *testing.B) float64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb / 1024
}
