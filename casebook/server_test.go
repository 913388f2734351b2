package casebook

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// serve accepts on a free port of loopback until the test ends, and has each
// connection served.
func serve(t testing.TB, conn func(net.Conn)) net.Addr {
	t.Helper()
	return serveOn(t, "tcp4", "127.0.0.1:0", conn)
}

// serveOn is serve on an address.
func serveOn(t testing.TB, network, address string, conn func(net.Conn)) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	acceptAll(t, l, conn)
	return l.Addr()
}

// serve accepts on an address inside the namespace.
func (n *Network) serve(address string, conn func(net.Conn)) {
	n.t.Helper()
	var l net.Listener
	err := n.inside(func() (err error) {
		l, err = net.Listen("tcp4", address)
		return err
	})
	if err != nil {
		n.t.Fatalf("listen on %s: %v", address, err)
	}
	acceptAll(n.t, l, conn)
}

func acceptAll(t testing.TB, l net.Listener, conn func(net.Conn)) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					t.Errorf("accept: %v", err)
				}
				return
			}
			go conn(c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
}

// hostPort are an address's two parts.
func hostPort(t testing.TB, a net.Addr) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		t.Fatalf("split %s: %v", a, err)
	}
	return []string{host, port}
}

// errReset is how a connection ends when the other side leaves with bytes unread.
var errReset = syscall.ECONNRESET

// greet says what a server says first, and waits until the client leaves.
func greet(c net.Conn) {
	defer c.Close()
	if _, err := io.WriteString(c, "220 crawl.example ready\r\n"); err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c) // until the end, of whatever kind
}

// silent says nothing, and waits until the client leaves.
func silent(c net.Conn) {
	defer c.Close()
	_, _ = io.Copy(io.Discard, c) // until the end, of whatever kind
}

// The answers of the DNS server, RFC 1035 section 4.1.1.
const (
	noError        = 0
	serverFailure  = 2
	refused        = 5
	responseFlag   = 0x80
	dnsHeader      = 12
	dnsKeepsOpen   = 10 * time.Second // RFC 7766 section 6.2.3: the client closes first
	dnsBeforeReset = 200 * time.Millisecond
)

// answerDNS answers one query. By its id it goes well, and the server leaves the
// closing to the client; or it fails, and the server closes; or is refused, and
// the server resets.
func answerDNS(c net.Conn) {
	defer c.Close()
	var size [2]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return // a client may leave at any time
	}
	query := make([]byte, binary.BigEndian.Uint16(size[:]))
	if _, err := io.ReadFull(c, query); err != nil || len(query) < dnsHeader {
		return
	}
	code := []byte{noError, serverFailure, refused}[binary.BigEndian.Uint16(query)%3]
	query[2] |= responseFlag
	query[3] = query[3]&0xf0 | code
	if _, err := c.Write(append(size[:], query...)); err != nil {
		return
	}
	switch code {
	case noError:
		time.Sleep(dnsKeepsOpen)
	case refused:
		time.Sleep(dnsBeforeReset)
		_ = c.(*net.TCPConn).SetLinger(0) // on a fresh connection of ours: it can't fail
	}
}
