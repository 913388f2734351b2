package casebook

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"sockleak/internal/stack"
	"sockleak/internal/verdict"
)

// arrival is a report and when it was read.
type arrival struct {
	at     time.Time
	report verdict.Report
}

// rest is how long before the end of a trace the programs are stopped: longer than
// the rules need that count a socket later than it is leaked (see Program.countOf).
const rest = 15 * time.Second

// trace runs sockleak with the arguments given for a duration and returns all of its
// reports, the interim ones first. It ends by itself. The programs that can be rest
// before the end, so that all that they have leaked must be in the last report.
func trace(t testing.TB, sockleak string, programs []*Program, duration time.Duration, args ...string) (begun time.Time, reports []arrival) {
	t.Helper()
	cmd := exec.Command(sockleak, append(args, "--for", duration.String())...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("make sockleak's output: %v", err)
	}
	begun = time.Now()
	if err := cmd.Start(); err != nil {
		t.Fatalf("start sockleak: %v", err)
	}
	s := bufio.NewScanner(out)
	s.Buffer(nil, 256<<20) // a report of the whole machine is one line
	for s.Scan() {
		r := arrival{at: time.Now()}
		if err := json.Unmarshal(s.Bytes(), &r.report); err != nil {
			t.Errorf("read a report: %v", err)
		}
		if len(reports) == 0 {
			resting := time.AfterFunc(time.Until(r.report.Started.Add(duration-rest)), func() { suspend(programs) })
			t.Cleanup(func() { resting.Stop() }) // if sockleak ended too early
		}
		reports = append(reports, r)
	}
	if err := s.Err(); err != nil {
		t.Errorf("read the reports: %v", err)
	}
	// 1 says that there are findings: what was found is judged, not how it ended.
	if err := cmd.Wait(); err != nil && cmd.ProcessState.ExitCode() != 1 {
		t.Fatalf("sockleak %v: %v\n%s", args, err, errs.String())
	}
	if len(reports) == 0 {
		t.Fatalf("sockleak %v wrote no report\n%s", args, errs.String())
	}
	return begun, reports
}

// saveText makes the text report of a recording, as on a terminal of 100 columns,
// and saves it under a name in the folder that -reports names.
func saveText(t testing.TB, sockleak, recording, name string) {
	t.Helper()
	if flags.reports == "" {
		return
	}
	cmd := exec.Command(tool(t, "script"), "-qec", "stty cols 100; NO_COLOR=1 "+sockleak+" replay "+recording, "/dev/null")
	text, err := cmd.Output()
	if err != nil && cmd.ProcessState.ExitCode() != 1 { // there are findings
		t.Fatalf("replay %s: %v\n%s", recording, err, text)
	}
	text = bytes.ReplaceAll(text, []byte("\r\n"), []byte("\n"))
	if err := os.WriteFile(filepath.Join(flags.reports, name+".txt"), text, 0o644); err != nil {
		t.Fatalf("save the report: %v", err)
	}
}

// looked is when the facts of a report were read.
func looked(r *verdict.Report) time.Time {
	return r.Started.Add(time.Duration(r.Duration * float64(time.Second)))
}

// short is one line about a finding.
func short(f *verdict.Finding) string {
	s := fmt.Sprintf("%s %d", f.Class, f.Count)
	if f.Origin.Culprit != nil {
		s += " at " + where(f.Origin.Frames[*f.Origin.Culprit])
	}
	if r := f.RequestedAt; r != nil && r.Culprit != nil {
		s += " asked for at " + where(r.Frames[*r.Culprit])
	}
	return s
}

// where is a frame's function, with its file and line.
func where(f stack.Frame) string { return fmt.Sprintf("%s (%s)", f.Function, place(f.File, f.Line)) }
