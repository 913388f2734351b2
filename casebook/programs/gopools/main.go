// Gopools uses a pool of database/sql and one of net/http. All of it is
// healthy; the first argument says when the pools are used:
//
//	idle    by twelve tasks at once for three seconds, then never again
//	busy    by twelve tasks, all the time
//	bursts  idle for 40 s, busy for 5, in turn
//	warmup  by one task more every two seconds until there are twelve, and idle
//	        from then on
//
//	gopools idle|busy|bursts|warmup DATABASE HTTP
package main

import (
	"bufio"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

const size = 12

// database is a driver for a "database" that answers a line to a line; it can
// only be pinged.
type database struct{ address string }

func (d database) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, fmt.Errorf("connect to the database: %w", err)
	}
	return session{conn, bufio.NewReader(conn)}, nil
}

func (d database) Driver() driver.Driver { return nil }

type session struct {
	net.Conn
	answers *bufio.Reader
}

func (s session) Ping(context.Context) error {
	if _, err := s.Write([]byte("ping\n")); err != nil {
		return fmt.Errorf("ask the database: %w", err)
	}
	_, err := s.answers.ReadString('\n')
	return err
}

func (s session) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (s session) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }

type pools struct {
	db     *sql.DB
	client *http.Client
	url    string
}

// use takes a connection from each pool and gives it back.
func (p pools) use() error {
	conn, err := p.db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.PingContext(context.Background()); err != nil {
		return err
	}
	resp, err := p.client.Get(p.url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	time.Sleep(20 * time.Millisecond)
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// together runs n tasks that use the pools for a time.
func (p pools) together(n int, d time.Duration) {
	var tasks sync.WaitGroup
	for range n {
		tasks.Go(func() {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
				if err := p.use(); err != nil {
					log.Fatal(err)
				}
			}
		})
	}
	tasks.Wait()
}

func main() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	transport := &http.Transport{MaxIdleConnsPerHost: size, MaxConnsPerHost: size}
	p := pools{sql.OpenDB(database{os.Args[2]}), &http.Client{Transport: transport}, "http://" + os.Args[3] + "/small"}
	p.db.SetMaxOpenConns(size)
	p.db.SetMaxIdleConns(size)
	fmt.Println("ready")
	switch mode := os.Args[1]; mode {
	case "idle":
		p.together(size, 3*time.Second)
	case "busy":
		p.together(size, time.Hour)
	case "bursts":
		for ; ; time.Sleep(40 * time.Second) {
			p.together(size, 5*time.Second)
		}
	case "warmup":
		for n := range size {
			p.together(n+1, 2*time.Second)
		}
	}
	select {}
}
