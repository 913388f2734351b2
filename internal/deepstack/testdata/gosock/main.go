// Program gosock makes a socket ten times a second.
package main

import (
	"net"
	"time"
)

type pool struct{}

//go:noinline
func (pool) open() net.PacketConn {
	c, err := net.ListenPacket("udp", "127.0.0.1:0") // SOCKET
	if err != nil {
		panic(err)
	}
	return c
}

func main() {
	for {
		pool{}.open().Close()
		time.Sleep(100 * time.Millisecond)
	}
}
