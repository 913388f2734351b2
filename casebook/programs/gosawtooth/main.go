// Gosawtooth connects three times a second and lets go of the connections
// without closing them. That is bad style and not a leak: the garbage collector
// closes them. Every 15 s here, which stands for the two minutes after which Go
// collects at the latest.
//
//	gosawtooth ADDRESS
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"time"
)

func ask(address string) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := conn.Write([]byte("ping\n")); err != nil {
		log.Fatal(err)
	}
	if _, err := conn.Read(make([]byte, 64)); err != nil {
		log.Fatal(err)
	}
}

func main() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Println("ready")
	for n := 1; ; n++ {
		ask(os.Args[1])
		time.Sleep(333 * time.Millisecond)
		if n%45 == 0 {
			runtime.GC()
		}
	}
}
