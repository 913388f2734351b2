package stack

import (
	"path"
	"slices"
	"strings"
)

// Culprit returns the index of the first frame that is the program's own code,
// -1 if there is none: what it calls of its language's runtime and standard
// library, of libc and of the usual network libraries is passed over. exe is
// the path of the program. Where nothing else is left, the first native frame in
// the program's own file is taken, unless it is only how programs start; for Go
// the last of its library: net/http connects in a goroutine of its own, and what
// began it says more than the system call.
func Culprit(frames []Frame, exe string) int {
	for i := range frames {
		if !foreign(&frames[i], exe) {
			return i
		}
	}
	for i := len(frames) - 1; i >= 0; i-- {
		if frames[i].Kind == Go && !startup(&frames[i]) {
			return i
		}
	}
	return slices.IndexFunc(frames, func(f Frame) bool {
		return exe != "" && f.Module == exe && !startup(&f) && !interpreter(exe)
	})
}

// Own says whether a frame is the program's own code, see Culprit.
func Own(f *Frame, exe string) bool { return !foreign(f, exe) }

// Folded says for each frame whether a text that is to be read leaves it out by
// default: the C library, how programs and threads start, and among frames of an
// interpreted language the interpreter's own.
func Folded(frames []Frame, exe string) []bool {
	folded := make([]bool, len(frames))
	interpreted := slices.ContainsFunc(frames, func(f Frame) bool {
		return f.Kind == Python || f.Kind == Ruby || f.Kind == Node || f.Kind == Java
	})
	for i := range frames {
		f := &frames[i]
		folded[i] = startup(f) || f.Kind == Native && f.Module != exe && libc(f.Module) ||
			f.Kind == Go && goSyscall(f.Function) || interpreted && f.Kind == Native && Runtime(f.Module) ||
			f.Kind == Ruby && f.Function == rubyNameless
	}
	return folded
}

// Runtime says whether a file is an interpreter or its library.
func Runtime(module string) bool {
	if interpreter(module) {
		return true
	}
	name, ok := libraryName(module)
	return ok && hasPrefix(name, runtimeFamilies)
}

// foreign says whether a frame is not the program's own code.
func foreign(f *Frame, exe string) bool {
	if startup(f) || nameless(f) {
		return true
	}
	switch f.Kind {
	case Kernel:
		return true
	case Go:
		return goStandard(f.Function)
	case Python:
		return pythonStandard(f.File)
	case Node:
		// Generated code of the engine has a frame without a file.
		return strings.HasPrefix(f.File, "node:") || f.File == "" || f.File == "<unknown>"
	case Java:
		return hasPrefix(f.Function, javaPrefixes)
	case Ruby:
		return rubyStandard(f.File)
	}
	return nativeForeign(f, exe)
}

// nameless says whether nothing is known of a frame of an interpreter but that there
// is one.
func nameless(f *Frame) bool {
	interpreted := f.Kind == Python || f.Kind == Java || f.Kind == Ruby || f.Kind == Node
	return interpreted && f.Function == "" && f.File == ""
}

// nativeForeign judges C, C++ and Rust. A function without a name in a library
// may be the program's own, but nothing says so.
func nativeForeign(f *Frame, exe string) bool {
	if f.Module == exe && exe != "" {
		// Linked in statically, or inlined: only the names tell.
		return f.Function == "" || interpreter(exe) || nativeLibrary(f.Function) ||
			libcFunctions[strings.TrimLeft(f.Function, "_")] || rustLibraryFile(f.File)
	}
	// Of a process that was gone at once its program isn't known, and may be
	// statically linked.
	return f.Module == "" || f.Module[0] != '/' || library(f.Module) || nativeLibrary(f.Function) ||
		rustLibraryFile(f.File) || rubyStandard(f.Module) || exe == "" && libcFunctions[strings.TrimLeft(f.Function, "_")]
}

// startup knows the frames that every program or thread has at its end.
func startup(f *Frame) bool {
	switch f.Function {
	case "_start", "__libc_start_main", "__libc_start_main_impl", "__libc_start_call_main", "_dl_start_user",
		"start_thread", "clone", "clone3", "__clone", "__clone3", "thread_start", "__restore_rt",
		"runtime.goexit", "runtime.main", "runtime.mstart", "runtime.rt0_go",
		"std::rt::lang_start", "std::rt::lang_start_internal", "std::sys::backtrace::__rust_begin_short_backtrace":
		return true
	}
	return strings.HasPrefix(f.Function, "__libc_start_main@") || strings.HasPrefix(f.Function, "std::rt::lang_start")
}

// interpreter knows programs whose own code isn't native: what is in their file
// is the language's, and that of its frames counts.
func interpreter(exe string) bool {
	name := path.Base(exe)
	for _, p := range []string{"python", "ruby", "node", "java", "perl", "php"} {
		if rest, ok := strings.CutPrefix(name, p); ok && strings.Trim(rest, "0123456789.-js") == "" {
			return true
		}
	}
	return false
}

func hasPrefix(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// library says whether a file is one of those that programs use but don't
// consist of.
func library(module string) bool {
	name, ok := libraryName(module)
	return ok && (libc(module) || foreignLibraries[name] || hasPrefix(name, foreignFamilies))
}

// libc says whether a file is a part of the C library, or the kernel's.
func libc(module string) bool {
	if strings.HasPrefix(module, "[") {
		return true
	}
	name, ok := libraryName(module)
	return ok && (cLibraries[name] || strings.HasPrefix(name, "ld-"))
}

// libraryName returns "libc" for /lib/x86_64-linux-gnu/libc.so.6 and for
// libc-2.31.so; false if the file isn't called like a shared library.
func libraryName(module string) (string, bool) {
	base := strings.TrimSuffix(path.Base(module), " (deleted)")
	name, _, ok := strings.Cut(base, ".so")
	if !ok {
		return "", false
	}
	if i := strings.LastIndexByte(name, '-'); i > 0 && strings.Trim(name[i+1:], "0123456789.") == "" {
		name = name[:i]
	}
	return name, true
}
