// Gopools uses a pool of database/sql and one of net/http. All of it is
// healthy; the first argument says when the pools are used:
//
//	idle    by twelve tasks at once for three seconds, then never again
//	busy    by twelve tasks, all the time
//	bursts  idle for 40 s, busy for 5, in turn
//	warmup  by one task more every two seconds until there are twelve, and an
//	        idle pool from then on
//
//	gopools idle|busy|bursts|warmup DATABASE HTTP
package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"time"
)

const size = 12

type pools struct {
	db     *sql.DB
	client *http.Client
	url    string
}

func newPools(database, http_ string) pools {
	db := sql.OpenDB(lines{database})
	db.SetMaxOpenConns(size)
	db.SetMaxIdleConns(size)
	transport := &http.Transport{MaxIdleConnsPerHost: size, MaxConnsPerHost: size}
	return pools{db, &http.Client{Transport: transport}, "http://" + http_ + "/small"}
}

// use takes a connection from each pool, keeps it for a moment, and gives it back.
func (p pools) use() {
	conn, err := p.db.Conn(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	if err := conn.PingContext(context.Background()); err != nil {
		log.Fatal(err)
	}
	resp, err := p.client.Get(p.url)
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		log.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
}

// together runs n tasks that use the pools for a time.
func (p pools) together(n int, d time.Duration) {
	var tasks sync.WaitGroup
	for range n {
		tasks.Go(func() {
			for end := time.Now().Add(d); time.Now().Before(end); {
				p.use()
				time.Sleep(30 * time.Millisecond)
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
	p := newPools(os.Args[2], os.Args[3])
	fmt.Println("ready")
	switch mode := os.Args[1]; mode {
	case "idle":
		p.together(size, 3*time.Second)
	case "busy":
		p.together(size, time.Hour)
	case "bursts":
		for {
			p.together(size, 5*time.Second)
			time.Sleep(40 * time.Second)
		}
	case "warmup":
		for n := range size {
			p.together(n+1, 2*time.Second)
		}
	default:
		log.Fatalf("%q: want idle, busy, bursts or warmup", mode)
	}
	select {}
}
