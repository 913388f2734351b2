// Gobodies asks a service for its status every second, with net/http.
//
// Forgets: to close the body where it only looks at the status code. With
// "small" the whole answer has been received, with "large" most of it waits in
// the socket.
// The healthy twin closes, so that the connection goes back to the pool, or away.
//
//	gobodies leak|ok small|large ADDRESS
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"
)

func check(url string, forgets bool) error {
	resp, err := http.Get(url) // LEAK
	if err != nil {
		return fmt.Errorf("ask for the status: %w", err)
	}
	if forgets {
		return nil
	}
	return resp.Body.Close()
}

func main() {
	forgets, size, address := os.Args[1] == "leak", os.Args[2], os.Args[3]
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	fmt.Printf("peer %s\nready\n", address)
	for leaked := 1; ; leaked++ {
		if err := check("http://"+address+"/"+size, forgets); err != nil {
			log.Fatal(err)
		}
		if forgets {
			fmt.Println("leaked", leaked)
		}
		time.Sleep(time.Second)
	}
}
