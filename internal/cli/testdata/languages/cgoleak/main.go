// Command cgoleak leaks COUNT sockets, PAUSE ms apart, and ends.
package main

/*
#include <sys/socket.h>

__attribute__((noinline)) static int make_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	__asm__ volatile("" ::: "memory");
	return fd;
}
*/
import "C"

import (
	"os"
	"strconv"
	"time"
)

//go:noinline
func leakHere() C.int {
	return C.make_socket() // LEAK
}

func main() {
	count, _ := strconv.Atoi(os.Args[1])
	pause, _ := strconv.Atoi(os.Args[2])
	for range count {
		leakHere()
		time.Sleep(time.Duration(pause) * time.Millisecond)
	}
}
