package casebook

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"time"
)

// The servers that clients of the casebook talk to. They run in the test, so that
// a traced program has only its own side. Each case has servers of its own, so
// that peers tell its sockets from those of others.

// lines starts a server that answers lines, and returns its address:
//
//	bye     an answer, and the end of the connection
//	flood   as many bytes as the client takes
//	drip    a line a second for 40 s, once the client has sent all it has
//	others  an answer
func lines(s *Stage) []string {
	return []string{serve(s.T, answer).String()}
}

// unixLines is the same on an AF_UNIX path.
func unixLines(s *Stage) []string {
	return []string{serveOn(s.T, "unix", filepath.Join(s.T.TempDir(), "daemon"), answer).String()}
}

// web starts an HTTP server and returns its address: /small is a short answer,
// /large 8 MiB, more than the socket buffers of both sides take.
func web(s *Stage) []string {
	s.T.Helper()
	large := bytes.Repeat([]byte("0123456789abcdef"), 8<<20/16)
	mux := http.NewServeMux()
	mux.HandleFunc("/small", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "fine\n") })
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) { w.Write(large) })
	server := httptest.NewServer(mux)
	s.T.Cleanup(func() {
		server.CloseClientConnections() // nobody reads the large answers to the end
		server.Close()
	})
	return []string{server.Listener.Addr().String()}
}

// both are the addresses of two servers.
func both(first, second func(*Stage) []string) func(*Stage) []string {
	return func(s *Stage) []string { return append(first(s), second(s)...) }
}

// names starts a server that knows all names but those that begin with
// "missing", over UDP, and returns its address.
func names(s *Stage) []string {
	s.T.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		s.T.Fatalf("serve names: %v", err)
	}
	s.T.Cleanup(func() { conn.Close() })
	go func() {
		question := make([]byte, 512)
		for {
			n, from, err := conn.ReadFrom(question)
			if err != nil {
				return // closed
			}
			answer := "found"
			if bytes.HasPrefix(question[:n], []byte("missing")) {
				answer = "missing"
			}
			if _, err := conn.WriteTo([]byte(answer), from); err != nil {
				return
			}
		}
	}()
	return []string{conn.LocalAddr().String()}
}

// answer serves one connection. It ends with the client's program.
func answer(conn net.Conn) {
	defer conn.Close()
	for s := bufio.NewScanner(conn); s.Scan(); {
		switch line := s.Text(); line {
		case "flood":
			for chunk := make([]byte, 64<<10); ; {
				if _, err := conn.Write(chunk); err != nil {
					return
				}
			}
		case "drip":
			drip(conn)
			return
		default:
			if _, err := io.WriteString(conn, "answer to "+line+"\n"); err != nil || line == "bye" {
				return
			}
		}
	}
}

func drip(conn net.Conn) {
	if _, err := io.Copy(io.Discard, conn); err != nil {
		return
	}
	for range 40 {
		if _, err := io.WriteString(conn, strings.Repeat("a long answer ", 100)+"\n"); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}
