// Command gostart dials in goroutines that two functions start, all by the same
// function, and writes of each connection the inode number of its socket and the
// function that started the goroutine. It does so for each line on standard input.
//
//	gostart [ADDRESS]  without it connects to itself
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"
)

func first(to string)  { go dial(to, "main.first") }
func second(to string) { go dial(to, "main.second") }

var dialled = make(chan net.Conn)

func dial(to, who string) {
	c, err := net.Dial("tcp", to)
	if err != nil {
		panic(err)
	}
	raw, err := c.(*net.TCPConn).SyscallConn()
	if err != nil {
		panic(err)
	}
	err = raw.Control(func(fd uintptr) {
		var st syscall.Stat_t
		if err := syscall.Fstat(int(fd), &st); err != nil {
			panic(err)
		}
		fmt.Println(st.Ino, who)
	})
	if err != nil {
		panic(err)
	}
	dialled <- c
}

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0") // its connections wait in the backlog
	if err != nil {
		panic(err)
	}
	to := l.Addr().String()
	if len(os.Args) > 1 {
		to = os.Args[1]
	}
	var kept []net.Conn
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		for range 20 {
			first(to)
			second(to)
			kept = append(kept, <-dialled, <-dialled)
		}
		fmt.Println("done")
	}
	runtime.KeepAlive(kept)
}
