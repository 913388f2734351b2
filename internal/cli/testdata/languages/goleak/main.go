// Command goleak leaks COUNT sockets, PAUSE ms apart, and ends.
package main

import (
	"os"
	"strconv"
	"syscall"
	"time"
)

// A variable, so that the call is not inlined: without DWARF a line in a function
// that was inlined can't be told from one in its caller.
var socket = syscall.Socket

//go:noinline
func leakHere() error {
	_, err := socket(syscall.AF_INET, syscall.SOCK_STREAM, 0) // LEAK
	return err
}

func main() {
	count, _ := strconv.Atoi(os.Args[1])
	pause, _ := strconv.Atoi(os.Args[2])
	for range count {
		if err := leakHere(); err != nil {
			panic(err)
		}
		time.Sleep(time.Duration(pause) * time.Millisecond)
	}
}
