// Command inlinego prints where here was called from, then waits.
package main

import (
	"fmt"
	"os"
	"runtime"
)

//go:noinline
func here() uintptr {
	var pcs [1]uintptr
	runtime.Callers(2, pcs[:])
	return pcs[0]
}

func inlined() uintptr {
	return here() // LINE main.inlined
}

type pool struct{ size int }

//go:noinline
func (p *pool) open() uintptr {
	p.size++
	at := inlined() // LINE main.(*pool).open
	p.size++
	return at
}

func main() {
	fmt.Printf("%#x\n", new(pool).open())
	os.Stdin.Read(make([]byte, 1))
}
