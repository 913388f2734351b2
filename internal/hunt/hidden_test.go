package hunt

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sockleak/internal/release"
)

// kept is the files of sockets that are there.
type kept struct {
	files            []release.File
	lost, unreleased uint64
}

func (k *kept) Files(before uint64, f func(release.File)) error {
	for _, file := range k.files {
		if file.Time < before {
			f(file)
		}
	}
	return nil
}

func (k *kept) Lost() (uint64, error)       { return k.lost, nil }
func (k *kept) Unreleased() (uint64, error) { return k.unreleased, nil }
func (k *kept) Close() error                { return nil }

// What two looks found without a descriptor is told, and how sure that is.
func TestHiddenNotes(t *testing.T) {
	const (
		open = "2 sockets made by server (pid 7) are open without a descriptor in any process, the oldest for 3 s: " +
			"a direct descriptor of io_uring, in flight in an AF_UNIX socket, or for an accept that waits, which has its socket from the start"
		alone = "1 socket made by server (pid 7) is open without a descriptor in any process, the oldest for 3 s: " +
			"a direct descriptor of io_uring, in flight in an AF_UNIX socket, or for an accept that waits, which has its socket from the start"
		left   = "1 socket was not followed to the release of its file: without a descriptor it would not be seen"
		unsure = "the release of 1 socket was not seen: as many of those without a descriptor may be closed"
		lost   = "5 sockets were not followed to the release of their files: without a descriptor they would not be seen"
	)
	two := []release.File{{Inode: 1, Time: 1e9, PID: 7, Comm: "server"}, {Inode: 2, Time: 2e9, PID: 7, Comm: "server"}}
	for name, test := range map[string]struct {
		kept kept
		want []string
	}{
		"none":                {kept{}, nil},
		"two":                 {kept{files: two}, []string{open}},
		"one":                 {kept{files: two[:1], lost: 1}, []string{alone, left}},
		"a release unseen":    {kept{files: two, unreleased: 1}, []string{open, unsure}},
		"of no consequence":   {kept{unreleased: 1}, nil},
		"more than have room": {kept{files: two, lost: 5}, []string{open, lost}},
	} {
		h := hidden{files: &test.kept}
		for range 2 {
			if err := h.look(3e9, 250, nil); err != nil {
				t.Fatal(err)
			}
		}
		got, err := h.notes(4e9)
		if err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%s: got %q, %v; want %q", name, got, err, test.want)
		}
	}
	h := hidden{failed: unix.EPERM}
	want := []string{"sockets without a descriptor were not looked for, such as direct descriptors of io_uring: sockleak doctor says why"}
	if got, err := h.notes(4e9); err != nil || !slices.Equal(got, want) {
		t.Errorf("not permitted: got %q, %v; want %q", got, err, want)
	}
}
