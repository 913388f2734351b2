package cli

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"sockleak/internal/needs"
	"sockleak/internal/verdict"
)

// More stacks at once than there is room for on their way from the kernel, while the agent
// gets no CPU: every socket is counted, the line is found all the same, and the report says
// how many stacks were lost, in a note and with the sockets.
func TestBurst(t *testing.T) {
	needs.Root(t)
	const sockets = 4000 // within the usual hard limit of 4096 descriptors
	target := exec.Command("/usr/bin/python3", "testdata/languages/burst.py", strconv.Itoa(sockets))
	in, err := target.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := target.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := target.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = in.Close() // it ends then
		_ = target.Wait()
	}()
	report := filepath.Join(t.TempDir(), "report.json")
	agent := exec.Command("sockleak", "attach", "--stack-rate", "0", "--interval", "500ms", "--min-age", "1s", "--top", "0",
		"--for", "0", "-o", "json", "--report", report, strconv.Itoa(target.Process.Pid))
	agent.Stderr = t.Output()
	if err := agent.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = agent.Process.Kill() // it may have ended
		_ = agent.Wait()
	}()
	untilDeep(t, agent.Process.Pid)
	time.Sleep(2 * time.Second) // until it has read the interpreter
	signal := func(s syscall.Signal) {
		if err := agent.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	if _, err := io.WriteString(in, "go\n"); err != nil {
		t.Fatal(err)
	}
	if s := bufio.NewScanner(out); !s.Scan() {
		t.Fatalf("the target ended: %v", s.Err())
	}
	signal(syscall.SIGCONT)
	time.Sleep(2 * time.Second) // until all are of the age that is asked for
	signal(syscall.SIGINT)
	if _ = agent.Wait(); agent.ProcessState.ExitCode() != exitFindings {
		t.Fatalf("%v", agent.ProcessState)
	}
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var r verdict.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Findings) != 1 {
		t.Fatalf("%d findings, want 1: %+v", len(r.Findings), r.Findings)
	}
	f := &r.Findings[0]
	line := "none"
	if c := f.Origin.Culprit; c != nil {
		line = f.Origin.Frames[*c].Function + " " + filepath.Base(f.Origin.Frames[*c].File)
	}
	if f.Count != sockets || line != "leak_here burst.py" {
		t.Errorf("%d sockets at %s, want %d at leak_here burst.py", f.Count, line, sockets)
	}
	noted, said := sumOf(t, r.Notes, lostNote), sumOf(t, f.Evidence, lostEvidence)
	if noted == 0 || noted != said {
		t.Errorf("%d stacks lost by the notes, %d by the finding, want some and the same:\n%q\n%q", noted, said, r.Notes, f.Evidence)
	}
}

var (
	lostNote     = regexp.MustCompile(`^([0-9,]+) sockets? ha(?:s|ve) a stack by .*: stack lost$`)
	lostEvidence = regexp.MustCompile(`^([0-9,]+) of [0-9,]+: stack lost`)
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
