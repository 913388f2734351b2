// Command vmtest runs the tests of a package inside another kernel, in a
// virtual machine, and shows what came of it on several kernels side by side:
//
//	go test -exec 'vmtest run -kernel vmlinuz -init vmtest' ./internal/probe
//	vmtest table amd64/5.10=results.json amd64/6.1=...
//
// The same program, statically linked for the guest, is the guest's init.
package main

import (
	"fmt"
	"os"
)

const usage = `usage: vmtest run -kernel IMAGE -arch ARCH -init INIT [-timeout D] PROGRAM [ARGUMENT...]
       vmtest table KERNEL=FILE...`

func main() {
	if os.Getpid() == 1 {
		initMain()
		return
	}
	os.Exit(hostMain(os.Args[1:]))
}

// hostMain returns the exit status: that of the tests; 1 also when the virtual
// machine failed, 2 for wrong arguments.
func hostMain(args []string) int {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	var status int
	var err error
	switch command {
	case "run":
		status, err = runMain(args[1:])
	case "table":
		status, err = tableMain(args[1:], os.Stdout)
	default:
		fmt.Fprintln(os.Stderr, usage)
		return 2
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmtest:", err)
		return max(status, 1)
	}
	return status
}
