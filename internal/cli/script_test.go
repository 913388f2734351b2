package cli

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"sockleak/internal/needs"
	"sockleak/internal/workload"
)

// patience bounds every wait of a script.
const patience = 30 * time.Second

// escapes are the sequences that set colors and clear lines.
var escapes = regexp.MustCompile("\x1b\\[[0-9;]*[A-Za-z]")

// testingKey finds the test in the values of a script.
type testingKey struct{}

// TestAnyone runs the scripts that trace nothing, as a user without privilege.
func TestAnyone(t *testing.T) { runScripts(t, "anyone", nil) }

// TestRoot runs the scripts that trace real programs.
func TestRoot(t *testing.T) {
	needs.Root(t)
	runScripts(t, "root", []string{"leak_never", "leak_closewait", "ok_listener"})
}

// runScripts runs the scripts of a folder; programs are those of package
// workload, whose paths they find in variables of the same name.
func runScripts(t *testing.T, folder string, programs []string) {
	shareCommand(t)
	docs, err := filepath.Abs("../../docs")
	if err != nil {
		t.Fatal(err)
	}
	vars := []string{"docs=" + docs, "schema=" + filepath.Join(docs, "report.schema.json")}
	for _, name := range programs {
		vars = append(vars, name+"="+workload.Build(t, name))
	}
	if len(programs) > 0 {
		vars = append(vars, "headless="+buildHeadless(t))
	}
	root, err := os.MkdirTemp("", "sockleak-cli-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(root); err != nil {
			t.Error(err)
		}
	})
	share(t, root)
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "script", folder),
		WorkdirRoot:         root,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Vars = append(env.Vars, vars...)
			env.Values[testingKey{}] = env.T()
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "kthreadd" {
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			comm, err := os.ReadFile("/proc/2/comm")
			return err == nil && string(comm) == "kthreadd\n", nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits":     cmdExits,
			"start":     cmdStart,
			"zombie":    cmdZombie,
			"thread":    cmdThread,
			"child":     cmdChild,
			"interrupt": cmdInterrupt,
			"validates": cmdValidates,
			"columns":   cmdColumns,
		},
	})
}

// buildHeadless compiles testdata/headless.c, which the scripts alone use.
// workload.Build has shown that there is a compiler.
func buildHeadless(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "headless")
	out, err := exec.Command("gcc", "-g", "-O1", "-pthread", "-Wall", "-Wextra", "-Werror", "-o", path, "testdata/headless.c").CombinedOutput()
	if err != nil {
		t.Fatalf("build headless: %v\n%s", err, out)
	}
	return path
}

// shareCommand lets other users execute the command under test, which
// testscript puts into a directory of its own user.
func shareCommand(t *testing.T) {
	t.Helper()
	path, err := exec.LookPath("sockleak")
	if err != nil {
		t.Fatal(err)
	}
	share(t, filepath.Dir(path))
	share(t, filepath.Dir(filepath.Dir(path)))
}

func share(t *testing.T, dir string) {
	t.Helper()
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func refuseNeg(ts *testscript.TestScript, neg bool) {
	if neg {
		ts.Fatalf("this command takes no !")
	}
}

// cmdExits runs a command that has to exit with a status:
//
//	exits [-nobody] STATUS COMMAND [ARG...]
//
// With -nobody it runs without any privilege.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	refuseNeg(ts, neg)
	unprivileged := len(args) > 0 && args[0] == "-nobody"
	if unprivileged {
		args = args[1:]
	}
	if len(args) < 2 {
		ts.Fatalf("usage: exits [-nobody] STATUS COMMAND [ARG...]")
	}
	command := args[1:]
	if id := strconv.Itoa(nobody); unprivileged && os.Geteuid() == 0 {
		command = append([]string{"setpriv", "--reuid", id, "--regid", id, "--clear-groups"}, command...)
	}
	checkStatus(ts, args[0], ts.Exec(command[0], command[1:]...))
}

func checkStatus(ts *testscript.TestScript, want string, err error) {
	got := "0"
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		got = strconv.Itoa(exit.ExitCode())
	case err != nil:
		ts.Fatalf("run it: %v", err)
	}
	if got != want {
		ts.Fatalf("exit status %s, want %s", got, want)
	}
}

// cmdStart starts a program that ends with the script; $NAME is its process id:
//
//	start [-unready] NAME PROGRAM [ARG...]
//
// It waits until the program says that it is ready, unless told not to.
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	refuseNeg(ts, neg)
	wait := true
	if len(args) > 0 && args[0] == "-unready" {
		wait, args = false, args[1:]
	}
	if len(args) < 2 {
		ts.Fatalf("usage: start [-unready] NAME PROGRAM [ARG...]")
	}
	p := workload.Start(ts.Value(testingKey{}).(testing.TB), args[1], args[2:]...)
	ts.Defer(p.Stop)
	if wait {
		p.Ready()
	}
	ts.Setenv(args[0], strconv.Itoa(p.PID))
}

// cmdZombie makes a process that has ended and that nobody has waited for; $NAME
// is its id.
func cmdZombie(ts *testscript.TestScript, neg bool, args []string) {
	refuseNeg(ts, neg)
	cmd := exec.Command("true")
	ts.Check(cmd.Start())
	ts.Defer(func() { _ = cmd.Wait() })
	stat := fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)
	until(ts, "the process ends", func() bool {
		text, err := os.ReadFile(stat)
		ts.Check(err)
		return strings.Contains(string(text), ") Z ")
	})
	ts.Setenv(args[0], strconv.Itoa(cmd.Process.Pid))
}

// cmdThread sets $NAME to the id of a thread that is not the first of its
// process: thread NAME PID.
func cmdThread(ts *testscript.TestScript, neg bool, args []string) {
	refuseNeg(ts, neg)
	tasks, err := os.ReadDir("/proc/" + args[1] + "/task")
	ts.Check(err)
	for _, task := range tasks {
		if task.Name() != args[1] {
			ts.Setenv(args[0], task.Name())
			return
		}
	}
	ts.Fatalf("process %s has one thread only", args[1])
}

// cmdChild sets $NAME to the id of the child of a process: child NAME PID.
func cmdChild(ts *testscript.TestScript, neg bool, args []string) {
	refuseNeg(ts, neg)
	until(ts, "the process has a child", func() bool {
		text, err := os.ReadFile("/proc/" + args[1] + "/task/" + args[1] + "/children")
		ts.Check(err)
		ts.Setenv(args[0], strings.TrimSpace(string(text)))
		return len(text) > 0
	})
}

// cmdInterrupt runs a command that records to a file, sends it a signal a second
// after the recording has begun, and checks its exit status:
//
//	interrupt SIGNAL STATUS RECORDING COMMAND [ARG...]
func cmdInterrupt(ts *testscript.TestScript, neg bool, args []string) {
	refuseNeg(ts, neg)
	signals := map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM}
	if len(args) < 4 || signals[args[0]] == nil {
		ts.Fatalf("usage: interrupt INT|TERM STATUS RECORDING COMMAND [ARG...]")
	}
	path, err := exec.LookPath(args[3])
	ts.Check(err)
	cmd := exec.Command(path, args[4:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = ts.MkAbs("."), ts.Stdout(), ts.Stderr()
	ts.Check(cmd.Start())
	begun := func() bool {
		st, err := os.Stat(ts.MkAbs(args[2]))
		return err == nil && st.Size() > 0
	}
	until(ts, "the recording begins", begun)
	time.Sleep(time.Second)
	ts.Check(cmd.Process.Signal(signals[args[0]]))
	killer := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer killer.Stop()
	checkStatus(ts, args[1], cmd.Wait())
}

func until(ts *testscript.TestScript, what string, done func() bool) {
	for end := time.Now().Add(patience); !done(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("waited %v until %s", patience, what)
		}
	}
}

// cmdValidates checks a file against the JSON Schema in $schema, which is the
// report's unless the script sets another:
//
//	validates [-lines] FILE
//
// With -lines every line is a document.
func cmdValidates(ts *testscript.TestScript, neg bool, args []string) {
	refuseNeg(ts, neg)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	schema, err := compiler.Compile(ts.Getenv("schema"))
	ts.Check(err)
	var documents []string
	if args[0] == "-lines" {
		args = args[1:]
		documents = strings.SplitAfter(strings.TrimSuffix(ts.ReadFile(args[0]), "\n"), "\n")
	} else {
		documents = []string{ts.ReadFile(args[0])}
	}
	for i, text := range documents {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err == nil {
			err = schema.Validate(v)
		}
		if err != nil {
			ts.Fatalf("document %d of %s: %v", i+1, args[0], err)
		}
	}
}

// cmdColumns checks that a file, written by a program to a terminal of so many
// columns, has no line that is longer, and one that uses the room:
//
//	columns WIDTH FILE
func cmdColumns(ts *testscript.TestScript, neg bool, args []string) {
	refuseNeg(ts, neg)
	width, err := strconv.Atoi(args[0])
	ts.Check(err)
	longest := 0
	// A carriage return begins a line anew, as progress does.
	for _, line := range strings.FieldsFunc(ts.ReadFile(args[1]), func(r rune) bool { return r == '\n' || r == '\r' }) {
		n := utf8.RuneCountInString(escapes.ReplaceAllString(line, ""))
		longest = max(longest, n)
		if n > width {
			ts.Fatalf("%d columns, want %d at most: %q", n, width, line)
		}
	}
	if longest <= width*3/4 {
		ts.Fatalf("the longest line has %d columns of %d", longest, width)
	}
}
