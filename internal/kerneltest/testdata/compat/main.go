// Command compat is built for 32 bits: "leak" leaks a socket, and "churn" opens
// and closes one; both answer "ok".
package main

import (
	"bufio"
	"fmt"
	"os"
	"syscall"
)

func main() {
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
		if err == nil && lines.Text() == "churn" {
			err = syscall.Close(fd)
		}
		if err != nil {
			fmt.Println("err", err)
			continue
		}
		fmt.Println("ok")
	}
}
