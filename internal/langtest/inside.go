package langtest

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// InsidePath is the file of a program in a mount namespace of its own.
const InsidePath = "/mnt/native"

// Inside is what unshare(1) is to be called with to run a copy of a program from a file
// that is in no mount namespace but its own. What is appended are the program's arguments.
func Inside(exe string) []string {
	return []string{"--mount", "/bin/sh", "-c", `mount -t tmpfs none /mnt && cp "$0" ` + InsidePath + ` && exec ` + InsidePath + ` "$@"`, exe}
}

// AwaitInside waits until the process that was called so runs the program, and returns
// its file, as it is called there.
func AwaitInside(t testing.TB, pid uint32) string {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err != nil {
			t.Fatal(err)
		}
		if exe == InsidePath {
			return exe
		}
		if time.Now().After(end) {
			t.Fatalf("%s still runs", exe)
		}
	}
}
