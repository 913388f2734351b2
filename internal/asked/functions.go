package asked

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"

	"github.com/cilium/ebpf"
)

// objects are our own programs and maps.
type objects struct {
	Asks     *ebpf.Map `ebpf:"asks"`
	Counters *ebpf.Map `ebpf:"ask_counters"`
	Attached *ebpf.Map `ebpf:"attached"`
	Handles  *ebpf.Map `ebpf:"handles"`
	Nexts    *ebpf.Map `ebpf:"ask_nexts"`
	Programs *ebpf.Map `ebpf:"go_programs"`

	Stop     *ebpf.Program `ebpf:"ask_stop"`
	Init     *ebpf.Program `ebpf:"ask_init"`
	Use0     *ebpf.Program `ebpf:"ask_use0"`
	Use1     *ebpf.Program `ebpf:"ask_use1"`
	HandleUp *ebpf.Program `ebpf:"ask_accepted"`
	End      *ebpf.Program `ebpf:"ask_close"`
	Socket   *ebpf.Program `ebpf:"ask_socket"`
	Accept   *ebpf.Program `ebpf:"ask_accept"`
}

func (o *objects) close() error {
	var errs []error
	for _, p := range []*ebpf.Program{o.Stop, o.Init, o.Use0, o.Use1, o.HandleUp, o.End, o.Socket, o.Accept} {
		errs = append(errs, p.Close())
	}
	for _, m := range []*ebpf.Map{o.Asks, o.Counters, o.Attached, o.Handles, o.Nexts, o.Programs} {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}

// functions are those of libuv that get a uprobe (its documentation of
// uv_tcp_t, uv_pipe_t, uv_udp_t and uv_stream_t), with the program for the
// argument that the handle is. Of those that make a socket, each version of
// libuv has some; uv_tcp_init and uv_close all have.
func (o *objects) functions() map[string]*ebpf.Program {
	return map[string]*ebpf.Program{
		"uv_tcp_init": o.Init, "uv_tcp_init_ex": o.Init, "uv_pipe_init": o.Init, "uv_udp_init": o.Init, "uv_udp_init_ex": o.Init,
		"uv_tcp_connect": o.Use1, "uv_pipe_connect": o.Use1, "uv_pipe_connect2": o.Use1, "uv_udp_send": o.Use1,
		"uv_tcp_bind": o.Use0, "uv_pipe_bind": o.Use0, "uv_pipe_bind2": o.Use0, "uv_listen": o.Use0,
		"uv_udp_bind": o.Use0, "uv_udp_connect": o.Use0, "uv_udp_try_send": o.Use0, "uv_udp_recv_start": o.Use0,
		"uv_accept": o.HandleUp, "uv_close": o.End,
	}
}

// place is where in a file a program goes.
type place struct {
	function string
	offset   uint64 // in the file, bytes
	program  *ebpf.Program
}

// places finds the functions of libuv in an ELF file, nil if it isn't there.
func (o *objects) places(f io.ReaderAt) ([]place, error) {
	image, err := elf.NewFile(f)
	if err != nil {
		return nil, nil // what is mapped need not be ELF
	}
	found := map[string]place{}
	wanted := o.functions()
	for _, read := range []func() ([]elf.Symbol, error){image.DynamicSymbols, image.Symbols} {
		symbols, err := read()
		if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
			return nil, fmt.Errorf("read symbols: %w", err)
		}
		for _, s := range symbols {
			p, offset := wanted[s.Name], fileOffset(image, s)
			if p != nil && offset != 0 && elf.ST_TYPE(s.Info) == elf.STT_FUNC {
				code := make([]byte, maxSkipped)
				n, _ := f.ReadAt(code, int64(offset)) // what is there decides
				found[s.Name] = place{s.Name, offset + emulated(image.Machine, code[:n]), p}
			}
		}
		// One that only calls libuv has no address for its functions.
		if _, ok := found["uv_tcp_init"]; ok {
			break
		}
		clear(found)
	}
	return ordered(found), nil
}

// ordered puts what ends a handle first and what makes it last: what is seen of
// a handle while the others are being attached is then never half a story.
func ordered(found map[string]place) []place {
	var first, rest, last []place
	for name, p := range found {
		switch name {
		case "uv_close", "uv_accept":
			first = append(first, p)
		case "uv_tcp_init", "uv_tcp_init_ex", "uv_pipe_init", "uv_udp_init", "uv_udp_init_ex":
			last = append(last, p)
		default:
			rest = append(rest, p)
		}
	}
	return append(append(first, rest...), last...)
}

// fileOffset is where a symbol's code is in the file, zero if it isn't in it.
func fileOffset(image *elf.File, s elf.Symbol) uint64 {
	if s.Section == elf.SHN_UNDEF || s.Value == 0 {
		return 0
	}
	for _, p := range image.Progs {
		if p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0 && s.Value >= p.Vaddr && s.Value-p.Vaddr < p.Filesz {
			return s.Value - p.Vaddr + p.Off
		}
	}
	return 0
}
