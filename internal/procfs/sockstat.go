package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
)

// SockStat is the state of TCP in one network namespace.
type SockStat struct {
	// NetNS is the inode number of the namespace: processes that share it
	// share these numbers.
	NetNS uint64
	// TimeWait is the number of sockets in TIME-WAIT, IPv4 and IPv6 alike:
	// one counter for both. They have no descriptor and no owner.
	TimeWait uint64
}

// SockStat returns the state of TCP in the network namespace of the process.
// It takes the right to ptrace(2) the process.
func (fs FS) SockStat(pid uint32) (SockStat, error) {
	p, err := fs.open(pid)
	if err != nil {
		return SockStat{}, err
	}
	defer p.Close()
	link, err := p.Readlink("ns/net")
	if err != nil {
		return SockStat{}, p.fail("ns/net", err)
	}
	ns, err := parseNamespace("net", link)
	if err != nil {
		return SockStat{}, err
	}
	text, err := p.read("net/sockstat")
	if err != nil {
		return SockStat{}, err
	}
	tw, err := parseSockStat(text)
	if err != nil {
		return SockStat{}, fmt.Errorf("parse net/sockstat of process %d: %w", pid, err)
	}
	return SockStat{NetNS: ns, TimeWait: tw}, nil
}

// parseSockStat reads "TCP: inuse 1 orphan 0 tw 3 alloc 1 mem 205". Of these
// only inuse, IPv4 alone, and tw are of the namespace; orphan, alloc and mem
// are of the whole machine.
func parseSockStat(text []byte) (timeWait uint64, err error) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte("TCP:"))
		if !ok {
			continue
		}
		fields := bytes.Fields(rest)
		for i := 0; i+1 < len(fields); i += 2 {
			if string(fields[i]) == "tw" {
				return strconv.ParseUint(string(fields[i+1]), 10, 64)
			}
		}
	}
	return 0, errors.New("no count of TIME-WAIT sockets")
}
