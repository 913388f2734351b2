package asked

import (
	"errors"
	"os"

	"github.com/cilium/ebpf"

	"sockleak/internal/symbol"
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
func (o *objects) places(f *os.File) ([]place, error) {
	const always = "uv_tcp_init"
	programs := o.functions()
	names := []string{always}
	for name := range programs {
		if name != always {
			names = append(names, name)
		}
	}
	offsets, machine, err := symbol.Functions(f, f.Name(), names...)
	if err != nil {
		return nil, err
	}
	found := map[string]place{}
	for name, offset := range offsets {
		code := make([]byte, maxSkipped)
		n, _ := f.ReadAt(code, int64(offset)) // what is there decides
		found[name] = place{name, offset + emulated(machine, code[:n]), programs[name]}
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
