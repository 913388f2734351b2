package procfs

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

const (
	statText   = "4242 (a) (b\nc)) S 17 4242 4242 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 12 0 123456 1 2 18446744073709551615 0\n"
	statusText = "Name:\ta) (b\\nc)\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4242\nNgid:\t0\nPid:\t4242\n" +
		"NSpid:\t4242\t31\t7\nThreads:\t12\n"
	limitsText = "Limit                     Soft Limit           Hard Limit           Units     \n" +
		"Max processes             96365                96365                processes \n" +
		"Max open files            1024                 524288               files     \n"
	cgroupText   = "12:cpu,cpuacct:/ignored\n1:name=systemd:/v1\n0::/user.slice/a:b.scope\n"
	sockstatText = "sockets: used 14\nTCP: inuse 1 orphan 2 tw 3 alloc 4 mem 205\nUDP: inuse 9 mem 0\n"
)

// literal writes a proc file system of files with text and, for names that
// end in "@", symbolic links.
func literal(t *testing.T, files map[string]string) FS {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		target, isLink := strings.CutSuffix(name, "@")
		path := filepath.Join(root, target)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		var err error
		if isLink {
			err = os.Symlink(text, path)
		} else {
			err = os.WriteFile(path, []byte(text), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	fs := New(root)
	fs.clock = func() (time.Time, time.Duration, error) {
		return time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC), 2000 * time.Second, nil
	}
	return fs
}

// with returns base with some files replaced; an empty text takes one away.
func with(base map[string]string, changes map[string]string) map[string]string {
	files := make(map[string]string)
	for _, m := range []map[string]string{base, changes} {
		for name, text := range m {
			files[name] = text
			if text == "" {
				delete(files, name)
			}
		}
	}
	return files
}

func TestProcess(t *testing.T) {
	base := map[string]string{
		"self@": "1", "4242/stat": statText, "4242/status": statusText, "4242/limits": limitsText,
		"4242/cgroup": cgroupText, "4242/exe@": "/usr/bin/x y",
	}
	want := Info{
		PID: 4242, TGID: 4242, PPID: 17, Comm: "a) (b\nc)", State: 'S', Exe: "/usr/bin/x y",
		StartTicks: 123456, Start: time.Date(2026, 1, 2, 2, 47, 14, 560e6, time.UTC),
		NSPIDs: []uint32{4242, 31, 7}, Threads: 12, NoFile: 1024, Cgroup: "/user.slice/a:b.scope",
	}
	for _, test := range []struct {
		name   string
		change map[string]string
		want   func(*Info)
	}{
		{"everything", nil, func(*Info) {}},
		{"program replaced", map[string]string{"4242/exe@": "/usr/bin/x (deleted)"}, func(i *Info) {
			i.Exe, i.ExeDeleted = "/usr/bin/x", true
		}},
		{"kernel thread", map[string]string{"4242/exe@": ""}, func(i *Info) { i.Exe = "" }},
		{"zombie", map[string]string{"4242/exe@": "", "4242/stat": strings.Replace(statText, ") S ", ") Z ", 1)}, func(i *Info) {
			i.Exe, i.State = "", 'Z'
		}},
		{"no limit", map[string]string{"4242/limits": "Max open files            unlimited            unlimited            files\n"}, func(i *Info) {
			i.NoFile = math.MaxUint64
		}},
		{"kernel without pid namespaces", map[string]string{"4242/status": "Name:\tx\nTgid:\t4242\n"}, func(i *Info) {
			i.NSPIDs = []uint32{4242}
		}},
		{"a thread", map[string]string{"4242/status": strings.Replace(statusText, "Tgid:\t4242", "Tgid:\t4000", 1)}, func(i *Info) {
			i.TGID = 4000
		}},
		{"cgroup v1", map[string]string{"4242/cgroup": "12:cpu:/c\n1:name=systemd:/v1\n"}, func(i *Info) { i.Cgroup = "/v1" }},
		{"no cgroups", map[string]string{"4242/cgroup": ""}, func(i *Info) { i.Cgroup = "" }},
	} {
		t.Run(test.name, func(t *testing.T) {
			expected := want
			test.want(&expected)
			got, err := literal(t, with(base, test.change)).Process(4242)
			if err != nil || !reflect.DeepEqual(got, expected) {
				t.Errorf("got %+v, %v\nwant %+v", got, err, expected)
			}
			if got.Zombie() != (test.name == "zombie") {
				t.Errorf("Zombie() = %v", got.Zombie())
			}
		})
	}
}

func TestProcessErrors(t *testing.T) {
	base := map[string]string{
		"self@": "1", "4242/stat": statText, "4242/status": statusText, "4242/limits": limitsText,
		"4242/cgroup": cgroupText,
	}
	for _, test := range []struct {
		name   string
		change map[string]string
		pid    uint32
		gone   bool
		text   string
	}{
		{"no such process", nil, 4243, true, "process 4243: no such process"},
		{"ended while read", map[string]string{"4242/stat": ""}, 4242, true, "process 4242: no such process"},
		{"not proc", map[string]string{"self@": ""}, 4243, false, "is not a proc file system"},
		{"file missing", map[string]string{"4242/limits": ""}, 4242, false, "read limits of process 4242: "},
		{"no brackets", map[string]string{"4242/stat": "1 2 3"}, 4242, false, "parse stat of process 4242: no comm in brackets"},
		{"wrong brackets", map[string]string{"4242/stat": "1 ) ( 3"}, 4242, false, "parse stat of process 4242: no comm in brackets"},
		{"stat too short", map[string]string{"4242/stat": "1 (a) S 1"}, 4242, false, "parse stat of process 4242: fewer fields"},
		{"stat not a number", map[string]string{"4242/stat": strings.Replace(statText, "123456", "x", 1)}, 4242, false, "start time: "},
		{"no tgid", map[string]string{"4242/status": "Name:\tx\n"}, 4242, false, "parse status of process 4242: no Tgid"},
		{"bad nspid", map[string]string{"4242/status": "Tgid:\t1\nNSpid:\t-1\n"}, 4242, false, "NSpid: "},
		{"no files line", map[string]string{"4242/limits": "x\n"}, 4242, false, "parse limits of process 4242: no line for open files"},
		{"empty files line", map[string]string{"4242/limits": "Max open files"}, 4242, false, "parse limits of process 4242: fewer fields"},
		{"cgroup line", map[string]string{"4242/cgroup": "0:/\n"}, 4242, false, "parse cgroup of process 4242: fewer fields"},
	} {
		t.Run(test.name, func(t *testing.T) {
			info, err := literal(t, with(base, test.change)).Process(test.pid)
			if err == nil || !strings.Contains(err.Error(), test.text) || errors.Is(err, ErrNoProcess) != test.gone {
				t.Errorf("got %+v, %v; want an error with %q, ErrNoProcess %v", info, err, test.text, test.gone)
			}
		})
	}
}

func TestStartedAt(t *testing.T) {
	info := Info{StartTicks: 123456}
	for ns, want := range map[uint64]bool{
		1234559999999: false, 1234560000000: true, 1234569999999: true, 1234570000000: false,
	} {
		if got := info.StartedAt(ns); got != want {
			t.Errorf("StartedAt(%d) = %v, want %v", ns, got, want)
		}
	}
}

func TestSocketInodesOfText(t *testing.T) {
	files := map[string]string{"self@": "1", "7/stat": statText}
	for fd, link := range []string{
		"/dev/null", "socket:[123]", "pipe:[5]", "socket:[x]", "socket:[18446744073709551615]", "anon_inode:[eventpoll]",
		"/" + strings.Repeat("long", 100), "socket:[9",
	} {
		files["7/fd/"+strconv.Itoa(fd)+"@"] = link
	}
	fs := literal(t, files)
	got, err := fs.SocketInodes(7)
	want := map[int32]uint64{1: 123, 4: math.MaxUint64}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("SocketInodes: got %v, %v, want %v", got, err, want)
	}
	if n, err := fs.CountFDs(7); n != 8 || err != nil {
		t.Errorf("CountFDs: got %d, %v, want 8", n, err)
	}
	for _, pid := range []uint32{8, 9} {
		if _, err := fs.SocketInodes(pid); !errors.Is(err, ErrNoProcess) {
			t.Errorf("SocketInodes(%d): %v", pid, err)
		}
		if _, err := fs.CountFDs(pid); !errors.Is(err, ErrNoProcess) {
			t.Errorf("CountFDs(%d): %v", pid, err)
		}
	}
}

func TestSockStatOfText(t *testing.T) {
	base := map[string]string{"self@": "1", "7/stat": statText, "7/ns/net@": "net:[4026531840]", "7/net/sockstat": sockstatText}
	for _, test := range []struct {
		name   string
		change map[string]string
		want   SockStat
		err    string
	}{
		{"normal", nil, SockStat{NetNS: 4026531840, TimeWait: 3}, ""},
		{"no tcp", map[string]string{"7/net/sockstat": "UDP: inuse 1 tw 4\n"}, SockStat{}, "no count of TIME-WAIT"},
		{"no tw", map[string]string{"7/net/sockstat": "TCP: inuse 1 tw\n"}, SockStat{}, "no count of TIME-WAIT"},
		{"not a namespace", map[string]string{"7/ns/net@": "net"}, SockStat{}, `parse net namespace "net"`},
		{"no network", map[string]string{"7/net/sockstat": ""}, SockStat{}, "read net/sockstat of process 7"},
		{"gone", map[string]string{"7/net/sockstat": "", "7/stat": ""}, SockStat{}, "process 7: no such process"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := literal(t, with(base, test.change)).SockStat(7)
			if got != test.want || (err == nil) != (test.err == "") || (err != nil && !strings.Contains(err.Error(), test.err)) {
				t.Errorf("got %+v, %v, want %+v, %q", got, err, test.want, test.err)
			}
		})
	}
}

func TestNamespacesOfText(t *testing.T) {
	initial := map[string]string{
		"self@": "9", "9/ns/pid@": "pid:[4026531836]", "9/status": "Tgid:\t9\nNSpid:\t9\n",
		"42/status": "Tgid:\t42\nNSpid:\t42\t7\n", "41/status": "Tgid:\t41\nNSpid:\t41\t7\t1\n", "40/status": "Tgid:\t40\nNSpid:\t40\t3\t7\n",
	}
	fs := literal(t, initial)
	if in, err := fs.InInitialPIDNS(); !in || err != nil {
		t.Errorf("InInitialPIDNS() = %v, %v in the initial namespace", in, err)
	}
	if pid, err := fs.InitialPID(7); pid != 7 || err != nil {
		t.Errorf("InitialPID(7) = %d, %v in the initial namespace", pid, err)
	}
	if pids, err := fs.ByInnerPID(7); !reflect.DeepEqual(pids, []uint32{40, 42}) || err != nil {
		t.Errorf("ByInnerPID(7) = %d, %v", pids, err)
	}

	fs = literal(t, with(initial, map[string]string{"9/ns/pid@": "pid:[4026532000]"}))
	if in, err := fs.InInitialPIDNS(); in || err != nil {
		t.Errorf("InInitialPIDNS() = %v, %v in a nested namespace", in, err)
	}
	if pid, err := fs.InitialPID(7); !errors.Is(err, ErrNestedPIDNS) {
		t.Errorf("InitialPID(7) = %d, %v in a nested namespace with its own /proc", pid, err)
	}
	between := map[string]string{"9/ns/pid@": "pid:[4026532000]", "9/status": "Tgid:\t9\nNSpid:\t9\t2\n"}
	for _, second := range []string{"", "2 (init) S 1 2 2 0 -1 4194560 0"} {
		between["2/stat"] = second
		if pid, err := literal(t, with(initial, between)).InitialPID(7); !errors.Is(err, ErrNestedPIDNS) {
			t.Errorf("InitialPID(7) = %d, %v below a namespace between, process 2 %q", pid, err, second)
		}
	}
	between["2/stat"] = "2 (kthreadd) S 0 0 0 0 -1 2129984 0"
	if pid, err := literal(t, with(initial, between)).InitialPID(7); !errors.Is(err, ErrNoProcess) {
		t.Errorf("InitialPID(7) = %d, %v with processes of other namespaces only", pid, err)
	}

	if in, err := literal(t, nil).InInitialPIDNS(); in || err == nil {
		t.Errorf("InInitialPIDNS() = %v, %v without /proc", in, err)
	}
}
