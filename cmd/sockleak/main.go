// Command sockleak finds the line of code that leaks sockets in a running
// program.
package main

import (
	"context"
	"os"

	"sockleak/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
