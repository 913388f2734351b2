package cli

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sockleak/internal/needs"
	"sockleak/internal/workload"
)

// More stacks at once than there is room for on their way from the kernel, while sockleak
// gets no CPU: every socket is counted, the line is found all the same, and the report says
// how many stacks were lost, in a note and with the sockets.
func TestBurst(t *testing.T) {
	needs.Root(t)
	exe := filepath.Join(t.TempDir(), "burst")
	if out, err := exec.Command(needs.Tool(t, "gcc"), "-O2", "-g", "-fomit-frame-pointer", "-o", exe, "testdata/languages/burst.c").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	python := []string{"/usr/bin/python3", "testdata/languages/burst.py"}
	for name, test := range map[string]struct {
		argv, flags []string
	}{
		"on their way from the profiler": {python, []string{"--stack-rate", "0"}},
		"as copies":                      {[]string{exe}, []string{"--stacks", "snapshot", "--stack-rate", "0"}},
		"not copied":                     {[]string{exe}, []string{"--stacks", "snapshot"}},
	} {
		t.Run(name, func(t *testing.T) { burst(t, test.argv, test.flags) })
	}
}

func burst(t *testing.T, argv, flags []string) {
	const sockets = 4000 // within the usual hard limit of 4096 descriptors
	target := workload.Start(t, argv[0], append(argv[1:], strconv.Itoa(sockets))...)
	target.Ready()
	report := filepath.Join(t.TempDir(), "report.json")
	agent := exec.Command("sockleak", slices.Concat([]string{"attach"}, flags, []string{"--interval", "500ms", "--min-age", "1s", "--top", "0",
		"--for", "0", "-o", "json", "--report", report, strconv.Itoa(target.PID)})...)
	agent.Stderr = t.Output()
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = agent.Process.Kill() // it may have ended
		_ = agent.Wait()
	}()
	if slices.Contains(flags, "snapshot") {
		untilLinks(t, agent.Process.Pid, 1)
	} else {
		untilLinks(t, agent.Process.Pid, deepLinks)
	}
	time.Sleep(4 * time.Second) // until all is attached, and the interpreter read
	signal := func(s syscall.Signal) {
		if err := agent.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	target.Do("leak")
	signal(syscall.SIGCONT)
	time.Sleep(2 * time.Second) // until all are of the age that is asked for
	signal(syscall.SIGINT)
	if _ = agent.Wait(); agent.ProcessState.ExitCode() != exitFindings {
		t.Fatalf("%v", agent.ProcessState)
	}
	r := reportIn(t, report)
	found, noted, said := 0, sumOf(t, r.Notes, lostNote), 0
	for i := range r.Findings {
		f := &r.Findings[i]
		found += f.Count
		said += sumOf(t, f.Evidence, lostEvidence)
		c := f.Origin.Culprit
		if c == nil && strings.Contains(f.Origin.Reason, "--stack-rate") {
			continue // never taken
		}
		if c == nil || f.Origin.Frames[*c].Function != "leak_here" {
			t.Errorf("%d sockets not at leak_here: %+v", f.Count, f.Origin)
		}
	}
	if found != sockets {
		t.Errorf("%d sockets, want %d", found, sockets)
	}
	if noted == 0 || noted != said {
		t.Errorf("%d stacks lost by the notes, %d by the findings, want some and the same:\n%q", noted, said, r.Notes)
	}
	t.Logf("%d stacks lost, %d findings", noted, len(r.Findings))
}

var (
	lostNote     = regexp.MustCompile(`^([0-9,]+) sockets? ha(?:s|ve) a stack by .*: stack lost`)
	lostEvidence = regexp.MustCompile(`^(?:all )?([0-9,]+)(?: of [0-9,]+)?: stack lost`)
)

// sumOf adds up the numbers that a pattern finds in texts.
func sumOf(t *testing.T, texts []string, pattern *regexp.Regexp) (sum int) {
	t.Helper()
	for _, text := range texts {
		m := pattern.FindStringSubmatch(text)
		if m == nil {
			continue
		}
		n, err := strconv.Atoi(strings.ReplaceAll(m[1], ",", ""))
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
