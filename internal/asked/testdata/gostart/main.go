// Command gostart dials in goroutines that two functions start, all by the same
// function, and writes of each connection the inode number of its socket and the
// function that started the goroutine. It begins when a line comes on standard
// input.
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
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
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		panic(err)
	}
	var kept []net.Conn
	for range 20 {
		first(l.Addr().String())
		second(l.Addr().String())
		kept = append(kept, <-dialled, <-dialled)
	}
	fmt.Println("done")
	select {}
}
