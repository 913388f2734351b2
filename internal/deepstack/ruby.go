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
// .symtab alone, which distributions strip, though .dynsym has it too, and reads the number
// of its module once, be it before the loader has written that. Then it takes another
// variable for it, or the frames of the thread that holds Ruby's lock, whichever that is.
type rubies struct {
	procs *ebpf.Map                       // struct RubyProcInfo by process id
	told  map[uint32]support.RubyProcInfo // what was written there
}

// complete does so for a process, if it is one of Ruby. Where the variable can't be
// found there are no frames of Ruby, rather than those of another thread.
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
	if info.Version < 3<<16 || info.Current_ec_tpbase_tls_offset != 0 || info == r.told[pid] {
		return nil
	}
	if v, ok := findEC(p); ok {
		info.Current_ec_tls_offset, info.Tls_module_id, info.Dtv_info = v.offset, v.module, v.vector
		r.told[pid] = info
	} else {
		info.Tls_module_id, info.Current_ctx_ptr = 0, 0
	}
	if err := r.procs.Put(pid, unsafe.Pointer(&info)); err != nil {
		return fmt.Errorf("say where Ruby's frames are: %w", err)
	}
	return nil
}

// threadLocal is where every thread of a process has a variable, as __tls_get_addr(3)
// finds it.
type threadLocal struct {
	module uint32 // number of the file that has it, from 1 on
	offset uint64 // in what threads have of that
	vector libc.DTVInfo
}

// findEC finds ruby_current_ec by the files that a process has mapped; false if they don't
// tell, or the loader hasn't come to it yet.
func findEC(p process.Process) (v threadLocal, ok bool) {
	_, err := p.IterateMappings(func(m process.RawMapping) bool {
		isRuby := strings.HasPrefix(path.Base(m.Path), "libruby")
		if !m.IsExecutable() || !isRuby && !libc.IsPotentialLibcDSO(m.Path) {
			return true
		}
		// What can't be read tells nothing.
		file, err := process.OpenELFMapping(p, &m)
		if err != nil {
			return true
		}
		defer file.Close()
		if isRuby {
			v.offset, v.module = variable(p, &m, file)
		} else if info, err := libc.ExtractLibcInfo(file); err == nil && info.HasDTVInfo() {
			v.vector = info.DTVInfo
		}
		return true
	})
	return v, err == nil && v.module != 0 && v.vector.Multiplier != 0
}

// variable returns the place of ruby_current_ec in the file that has it, and the number
// that the loader has given that file; zero if it has not.
func variable(p process.Process, m *process.RawMapping, file *pfelf.File) (offset uint64, module uint32) {
	at, err := file.LookupSymbolAddress(currentEC)
	mapper := file.GetAddressMapper()
	base, ok := mapper.FileOffsetToVirtualAddress(m.FileOffset)
	if err != nil || !ok {
		return 0, 0
	}
	// On failure there was no such relocation.
	_ = file.VisitRelocations(func(r pfelf.ElfReloc, symbol string) bool {
		if symbol == currentEC {
			module = p.GetRemoteMemory().Uint32(libpf.Address(m.Vaddr - base + r.Off))
		}
		return module == 0
	}, pfelf.RelDTPMOD64)
	return uint64(at), module
}
