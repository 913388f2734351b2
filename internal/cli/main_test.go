package cli

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/spf13/cobra"
)

// nobody is a user and a group without any privilege.
const nobody = 65534

// TestMain makes the test binary the command itself when it is started under
// the name sockleak, which testscript puts into $PATH. run starts that file once
// more, under whatever name it has.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"sockleak": func() {
			os.Exit(Main(context.Background(), os.Args[1:], Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
		},
	})
}

// TestHelpOfEveryCommand runs --help as a user without privilege.
func TestHelpOfEveryCommand(t *testing.T) {
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		if cmd.Hidden {
			return
		}
		t.Run(strings.ReplaceAll(cmd.CommandPath(), " ", "-"), func(t *testing.T) {
			help := helpOf(t, strings.Fields(cmd.CommandPath())[1:])
			for _, want := range []string{"Usage:", cmd.CommandPath(), "--help"} {
				if !strings.Contains(help, want) {
					t.Errorf("no %q in:\n%s", want, help)
				}
			}
			for line := range strings.Lines(help) {
				if strings.Contains(line, starterName) {
					t.Errorf("the hidden command is shown: %s", line)
				}
			}
		})
		for _, sub := range cmd.Commands() {
			walk(sub)
		}
	}
	walk(NewRoot(Streams{}))
}

func helpOf(t *testing.T, args []string) string {
	t.Helper()
	shareCommand(t)
	cmd := exec.Command("sockleak", append(args, "--help")...)
	cmd.Dir = "/"
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("sockleak %s --help: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	if errs.Len() > 0 {
		t.Errorf("on standard error: %s", errs.String())
	}
	return out.String()
}
