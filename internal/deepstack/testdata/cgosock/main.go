// Command cgosock makes a socket in C, ten times a second.
package main

/*
#include <sys/socket.h>
#include <unistd.h>

// C is compiled without frame pointers.
__attribute__((noinline)) static int make_socket(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	__asm__ volatile("" ::: "memory");
	return fd;
}
*/
import "C"

import "time"

type pool struct{}

//go:noinline
func (pool) open() C.int { return C.make_socket() } // CALL

func serve(p pool) {
	for {
		C.close(p.open())
		time.Sleep(100 * time.Millisecond)
	}
}

func main() { serve(pool{}) }
