package report

import (
	"fmt"
	"strings"

	"sockleak/internal/verdict"
)

// queueWords says how much waits in the sockets' queues. What is not data is
// left out: in CLOSE-WAIT the peer's FIN takes one in Recv-Q until the program
// has read the end of the stream, and in CLOSE a single one may be that FIN; in
// SYN-SENT Send-Q holds the SYN, and in CLOSE what was left in it.
func queueWords(sockets []verdict.Socket) string {
	var unread, unsent, unacked sum
	told := true // whether the kernel tells what of Send-Q was sent
	for _, s := range sockets {
		if s.State == "LISTEN" {
			continue
		}
		if s.RecvQ != nil {
			data := *s.RecvQ
			if data > 0 && (s.State == "CLOSE-WAIT" || s.State == "CLOSE" && data == 1) {
				data--
			}
			unread.add(data)
		}
		if s.SendQ == nil || s.State == "SYN-SENT" || s.State == "CLOSE" {
			continue
		}
		unsent.add(*s.SendQ)
		if s.Unacked == nil {
			told = false
			continue
		}
		unacked.add(min(*s.Unacked, *s.SendQ))
	}
	var parts []string
	if unread.bytes > 0 {
		parts = append(parts, "Recv-Q: "+unread.words("unread"))
	}
	switch {
	case unsent.bytes == 0:
	case !told || unacked == unsent:
		parts = append(parts, "Send-Q: "+unsent.words("not acknowledged"))
	case unacked.bytes == 0:
		parts = append(parts, "Send-Q: "+unsent.words("not sent"))
	default:
		parts = append(parts, fmt.Sprintf("Send-Q: %s, of which %s sent and not acknowledged",
			unsent.words("queued"), counted(unacked.bytes, "byte was", "bytes were")))
	}
	return strings.Join(parts, "; ")
}

// sum is the bytes in a queue of several sockets.
type sum struct {
	bytes   uint64
	sockets int // that have any
}

func (s *sum) add(bytes uint32) {
	if bytes > 0 {
		s.bytes += uint64(bytes)
		s.sockets++
	}
}

func (s *sum) words(what string) string {
	return fmt.Sprintf("%s %s on %s", counted(s.bytes, "byte", "bytes"), what, counted(s.sockets, "socket", "sockets"))
}
