// Goservices is a server of many kinds and, as a second process, the clients of
// all of them. Both are healthy. Every client but those with pools comes from one
// address, as behind a router that translates addresses.
//
//	poll       long polls over HTTP keep-alive, 40 s each
//	websocket  connections that say something every 25 s
//	topic      subscribers that wait for minutes, and a publisher that came last
//	mux        many streams at once over one connection, as gRPC has them
//	arrive     clients that come one by one for half a minute, ask twice and
//	           then are idle, each with a connection of its own
//	pool       four hosts with a pool of five connections each, of which the one
//	           that came back last is enough after a while; two fill theirs late
//
//	goservices
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"sync"
	"time"
)

var kinds = []string{"poll", "websocket", "topic", "mux", "arrive", "pool"}

// serve answers lines until the peer closes. A subscriber is answered when
// there is news: not while anybody looks.
func serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer conn.Close()
			for s := bufio.NewScanner(conn); s.Scan(); {
				if s.Text() != "subscribe" {
					fmt.Fprintln(conn, "answer", s.Text())
				}
			}
		}()
	}
}

func poll(w http.ResponseWriter, r *http.Request) {
	select {
	case <-time.After(40 * time.Second):
		fmt.Fprintln(w, "no news")
	case <-r.Context().Done():
	}
}

// client is a connection on which a question has an answer.
type client struct {
	net.Conn
	answers *bufio.Reader
}

func dial(address string) client { return dialFrom("", address) }

// dialFrom connects from an address of this machine; empty: from any.
func dialFrom(host, address string) client {
	d := net.Dialer{}
	if host != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(host)}
	}
	conn, err := d.Dial("tcp", address)
	if err != nil {
		log.Fatal(err)
	}
	return client{conn, bufio.NewReader(conn)}
}

func (c client) ask(question string) {
	fmt.Fprintln(c, question)
	if question == "subscribe" {
		return
	}
	if _, err := c.answers.ReadString('\n'); err != nil {
		log.Fatal(err)
	}
}

func (c client) askEvery(d time.Duration, question string) {
	for ; ; time.Sleep(d) {
		c.ask(question)
	}
}

func pollForEver(url string) {
	for {
		resp, err := http.Get(url)
		if err != nil {
			log.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
}

// multiplex shares one connection among twenty streams.
func multiplex(address string) {
	c := dial(address)
	go io.Copy(io.Discard, c)
	var turn sync.Mutex
	for stream := range 20 {
		go func() {
			for ; ; time.Sleep(time.Second) {
				turn.Lock()
				fmt.Fprintln(c, "stream", stream)
				turn.Unlock()
			}
		}()
	}
}

// usePool fills a pool, uses all of it for five seconds, and the last one then.
func usePool(host, address string, wait time.Duration) {
	time.Sleep(wait)
	var pool []client
	for range 5 {
		pool = append(pool, dialFrom(host, address))
	}
	for range 5 {
		for _, c := range pool {
			c.ask("hello")
		}
		time.Sleep(time.Second)
	}
	pool[4].askEvery(time.Second, "hello")
}

func clients(address map[string]string) {
	for range 6 {
		go pollForEver("http://" + address["poll"])
		go dial(address["websocket"]).askEvery(25*time.Second, "ping")
		dial(address["topic"]).ask("subscribe")
	}
	go dial(address["topic"]).askEvery(time.Second, "publish")
	multiplex(address["mux"])
	for i, wait := range []time.Duration{0, 0, 40 * time.Second, 45 * time.Second} {
		go usePool(fmt.Sprintf("127.0.0.%d", i+2), address["pool"], wait)
	}
	var idle []client
	for range 10 {
		idle = append(idle, dial(address["arrive"]))
		idle[len(idle)-1].ask("hello")
		time.Sleep(3 * time.Second)
		idle[len(idle)-1].ask("once more")
	}
	io.Copy(io.Discard, idle[0])
}

func main() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	if len(os.Args) > 1 {
		address := map[string]string{}
		for i, kind := range kinds {
			address[kind] = os.Args[1+i]
		}
		clients(address)
	}
	child := exec.Command(os.Args[0])
	for _, kind := range kinds {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		if kind == "poll" {
			go http.Serve(l, http.HandlerFunc(poll))
		} else {
			go serve(l)
		}
		child.Args = append(child.Args, l.Addr().String())
	}
	// Ends with this process, which closes the other end.
	if _, err := child.StdinPipe(); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ready")
	log.Fatal(child.Run())
}
