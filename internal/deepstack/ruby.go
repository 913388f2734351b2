package deepstack

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unsafe"

	"github.com/cilium/ebpf"
	"go.opentelemetry.io/ebpf-profiler/libc"
	"go.opentelemetry.io/ebpf-profiler/libpf"
	"go.opentelemetry.io/ebpf-profiler/libpf/pfelf"
	"go.opentelemetry.io/ebpf-profiler/process"
	"go.opentelemetry.io/ebpf-profiler/support"
)

// currentEC is the variable of each thread that leads to its frames of Ruby, from Ruby
// 3.0 on (vm_core.h).
const currentEC = "ruby_current_ec"

// rubies tells the unwinder where processes of Ruby keep ruby_current_ec, where the
// profiler (v0.0.202633, interpreter/ruby/ruby.go) doesn't know: it looks for its place in
// .symtab alone, which distributions strip, though .dynsym has it too until Ruby 3.3, and
// reads what the loader writes once, be it before that has. Then it takes another variable
// for it, or the frames of the thread that holds Ruby's lock, whichever that is.
type rubies struct {
	procs *ebpf.Map                       // struct RubyProcInfo by process id
	told  map[uint32]support.RubyProcInfo // what was written there
}

// complete does so for a process, if it is one of Ruby that has libruby. Where the
// variable can't be found there are no frames of Ruby, rather than those of another thread.
func (r *rubies) complete(p process.Process) error {
	var info support.RubyProcInfo
	pid := uint32(p.PID())
	err := r.procs.Lookup(pid, unsafe.Pointer(&info))
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		delete(r.told, pid)
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up what is known of Ruby: %w", err)
	}
	if info.Version < 3<<16 || info == r.told[pid] {
		return nil
	}
	ec, ok := findEC(p)
	if !ok {
		return nil // linked statically, and then it is found
	}
	info.Current_ec_tpbase_tls_offset, info.Current_ec_tls_offset = ec.fromThread, ec.offset
	info.Tls_module_id, info.Dtv_info = ec.module, ec.vector
	if !ec.known() {
		info.Current_ctx_ptr = 0
	}
	if err := r.procs.Put(pid, unsafe.Pointer(&info)); err != nil {
		return fmt.Errorf("say where Ruby's frames are: %w", err)
	}
	if ec.known() {
		r.told[pid] = info
	}
	return nil
}

// threadLocal is where every thread of a process has a variable.
type threadLocal struct {
	// fromThread is how far it is from the thread pointer, where a TLS descriptor says so;
	// or zero, and it is as __tls_get_addr finds it.
	fromThread int64
	module     uint32 // number of the file that has it, from 1 on
	offset     uint64 // in what threads have of that
	vector     libc.DTVInfo
}

func (v *threadLocal) known() bool {
	return v.fromThread != 0 || v.module != 0 && v.vector.Multiplier != 0
}

// findEC finds ruby_current_ec by the files that a process has mapped; false if libruby
// isn't among them. What they don't tell, or the loader hasn't come to yet, is zero.
func findEC(p process.Process) (v threadLocal, ok bool) {
	_, err := p.IterateMappings(func(m process.RawMapping) bool {
		isRuby := strings.HasPrefix(path.Base(m.Path), "libruby")
		if !m.IsExecutable() || !isRuby && !libc.IsPotentialLibcDSO(m.Path) {
			return true
		}
		ok = ok || isRuby
		// What can't be read tells nothing.
		file, err := process.OpenELFMapping(p, &m)
		if err != nil {
			return true
		}
		defer file.Close()
		if isRuby {
			v.find(p, &m, file)
		} else if info, err := libc.ExtractLibcInfo(file); err == nil && info.HasDTVInfo() {
			v.vector = info.DTVInfo
		}
		return true
	})
	return v, ok && err == nil
}

// find finds ruby_current_ec in libruby, and reads what the loader has written of it: at
// the relocations that name it, or, where it is no symbol for others, that name none.
func (v *threadLocal) find(p process.Process, m *process.RawMapping, file *pfelf.File) {
	at, ok := symbolAt(file, currentEC)
	mapper := file.GetAddressMapper()
	base, mapped := mapper.FileOffsetToVirtualAddress(m.FileOffset)
	if !ok || !mapped {
		return
	}
	memory, bias := p.GetRemoteMemory(), libpf.Address(m.Vaddr-base)
	// On failure there are no such relocations.
	_ = file.VisitTLSRelocations(func(r pfelf.ElfReloc, symbol string) bool {
		if symbol == currentEC || symbol == "" && uint64(r.Addend) == at {
			v.fromThread = int64(memory.Uint64(bias + libpf.Address(r.Off) + 8))
		}
		return v.fromThread == 0
	})
	_ = file.VisitRelocations(func(r pfelf.ElfReloc, symbol string) bool {
		if symbol == currentEC || symbol == "" {
			v.module = memory.Uint32(bias + libpf.Address(r.Off))
		}
		return v.module == 0
	}, pfelf.RelDTPMOD64)
	v.offset = at
}

// symbolAt returns the value of a symbol, be it one that other files can't see.
func symbolAt(file *pfelf.File, name libpf.SymbolName) (value uint64, ok bool) {
	if at, err := file.LookupSymbolAddress(name); err == nil {
		return uint64(at), true
	}
	// On failure there is no .symtab.
	_ = file.VisitSymbols(func(s libpf.Symbol) bool {
		if s.Name == name {
			value, ok = uint64(s.Address), true
		}
		return !ok
	})
	return value, ok
}
