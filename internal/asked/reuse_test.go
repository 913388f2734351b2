package asked

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"sockleak/internal/needs"
	"sockleak/internal/workload"
)

// handles starts a program in C that makes so many handles at addresses that are used
// again at once, and sockets in between without one.
func handles(t *testing.T, made int) *program {
	t.Helper()
	return start(t, "handles.c", handlesProgram(t), strconv.Itoa(made), t.TempDir())
}

// handlesProgram builds handles.c.
func handlesProgram(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("/usr/include/uv.h"); err != nil && os.Getenv("CI") == "" {
		t.Skip("needs uv.h, which is not installed: run scripts/setup.sh")
	}
	exe := filepath.Join(t.TempDir(), "handles")
	run(t, "gcc", "-O2", "-g", "-Wall", "-Wextra", "-Werror", source(t, "handles.c"), "-o", exe, "-luv")
	return exe
}

// tally is what became of the sockets of a program, held against its own log.
type tally struct{ right, wrong, missing, own, spared, inferred int }

// tally compares; who of a socket whose stack was left out is what those of the same
// call say that have one, if that is one thing.
func (k *traced) tally(t *testing.T, p *program, asked map[uint64]string) (n tally) {
	t.Helper()
	byCall := map[uint64]map[string]bool{}
	for inode := range asked {
		if a := k.asks[inode]; a.Calls[0] != 0 && !a.Spared[0] {
			if byCall[a.Calls[0]] == nil {
				byCall[a.Calls[0]] = map[string]bool{}
			}
			got, _, _ := strings.Cut(k.who(p, inode), " ")
			byCall[a.Calls[0]][got] = true
		}
	}
	for inode, who := range asked {
		got, _, _ := strings.Cut(k.who(p, inode), " ")
		a := k.asks[inode]
		same := byCall[a.Calls[0]]
		switch {
		case who == "-" && k.many[inode] == 0:
			n.own++
		case a.Spared[0] && got == "" && who != "-" && (len(same) != 1 || same[who]):
			n.spared++
			if len(same) == 1 {
				n.inferred++
			}
		case got == who && k.many[inode] == 1:
			n.right++
		case got == "" && !a.Spared[0] && who != "-":
			n.missing++
		default:
			if n.wrong++; n.wrong < 10 {
				t.Errorf("socket %d of %s: got %q, %d times; spared %v, of a call by %v", inode, who, got, k.many[inode], a.Spared[0], same)
			}
		}
	}
	return n
}

// TestReuse: handles whose addresses are used again at once, and sockets that are
// made in between without one. None is taken for another's, nor for that of a program
// that is not traced; neither where there is no place for more handles.
func TestReuse(t *testing.T) {
	needs.Root(t)
	const made = 100_000
	p, bystander, late := handles(t, made), handles(t, 200), handles(t, 2000)
	k := trace(t, Budget{}, p, late)
	began := time.Now()
	asked := k.log(t, p)
	took := time.Since(began)
	k.log(t, bystander)
	n, loss := k.tally(t, p, asked), k.loss(t)
	t.Logf("%d sockets at %.0f/s: %+v; %+v", len(asked), float64(len(asked))/took.Seconds(), n, loss)
	if lost := loss.missed(); uint64(n.missing) > lost {
		t.Errorf("%d are not known, and %d were counted as lost", n.missing, lost)
	}
	if all := n.right + n.wrong + n.missing; all != made || n.right < made/2 || n.own == 0 || n.spared > 0 {
		t.Errorf("%d of %d sockets, %d right and %d of its own prove nothing, and %d were left out", all, made, n.right, n.own, n.spared)
	}
	if loss.Handles != made || k.has(t, bystander) {
		t.Errorf("%d handles of %d, and attached to a program that is not traced: %v", loss.Handles, made, k.has(t, bystander))
	}
	k.full(t, late)
}

// full lets a program make its handles where two have a place.
func (k *traced) full(t *testing.T, p *program) {
	t.Helper()
	before := k.loss(t)
	others := make([]askedHandleKey, k.own.Handles.MaxEntries()-2)
	for i := range others {
		// Of no process: its number is beyond those that Linux gives.
		others[i] = askedHandleKey{Address: uint64(i) + 1, Tgid: math.MaxUint32}
	}
	if _, err := k.own.Handles.BatchUpdate(others, make([]askedHandle, len(others)), nil); err != nil {
		t.Fatal(err)
	}
	n, after := k.tally(t, p, k.log(t, p)), k.loss(t)
	if _, err := k.own.Handles.BatchDelete(others, nil); err != nil {
		t.Error(err)
	}
	t.Logf("full: %+v; %+v", n, after)
	if full := after.Full - before.Full; full == 0 || uint64(n.missing) > after.missed()-before.missed() {
		t.Errorf("%d are not known, and %d handles were counted that found no place", n.missing, full)
	}
	if n.right == 0 || n.missing == 0 || n.own == 0 {
		t.Errorf("%d right, %d not known and %d of its own prove nothing", n.right, n.missing, n.own)
	}
}

// TestBudget: past the rate one handle in so many has its stack walked, the others
// say that theirs was left out, and none is taken for another's; neither by what
// those of the same call say.
func TestBudget(t *testing.T) {
	needs.Root(t)
	const made, rate = 20_000, 200
	p := handles(t, made)
	k := trace(t, Budget{Rate: rate}, p)
	began := time.Now()
	asked := k.log(t, p)
	seconds := uint64(time.Since(began)/time.Second) + 1
	n, loss := k.tally(t, p, asked), k.loss(t)
	walked := loss.Handles - loss.Spared
	// As many as the rate are owed to new calls.
	most := rate*seconds + workload.MostWalks(made, rate, seconds)
	t.Logf("%d sockets in %d s: %+v; %d walked, at most %d; %+v", len(asked), seconds, n, walked, most, loss)
	if walked < rate || walked > most || loss.Spared == 0 {
		t.Errorf("%d stacks walked and %d left out, want %d to %d walked", walked, loss.Spared, rate, most)
	}
	if lost := loss.missed(); uint64(n.missing) > lost {
		t.Errorf("%d are not known, and %d were counted as lost", n.missing, lost)
	}
	if n.right == 0 || n.own == 0 || n.inferred < n.spared/2 {
		t.Errorf("%d right, %d of its own, and of %d left out %d inferred prove nothing", n.right, n.own, n.spared, n.inferred)
	}
}

// missed is how many sockets or handles it may be that nobody is known for.
func (l Loss) missed() uint64 {
	return l.Full + l.Unknown + l.Busy + l.NotRun + l.Unread + l.Ring
}
