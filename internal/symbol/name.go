package symbol

import (
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// maxMangled bounds the names that are demangled: a short mangled name can
// stand for a very long one.
const maxMangled = 4096

// readable is a linker's name as the source has it: C++ with its scope and
// template arguments but without parameters, which say little and are long;
// Rust without its hash. Other names stay.
func readable(name string) string {
	if i := strings.IndexByte(name, '@'); i > 0 { // symbol version: read@@GLIBC_2.2.5
		name = name[:i]
	}
	if len(name) > maxMangled || !mangled(name) {
		return stripClone(name)
	}
	out, err := demangle.ToString(name, demangle.NoParams, demangle.NoEnclosingParams, demangle.NoClones,
		demangle.NoABITags, demangle.MaxLength(11))
	if err != nil {
		return stripClone(name)
	}
	return out
}

// mangled says whether a linker's name has a scope in it, of C++ or Rust.
func mangled(name string) bool {
	return strings.HasPrefix(name, "_Z") || strings.HasPrefix(name, "_R")
}

// stripClone removes what GCC appends to the copies it makes of C functions.
func stripClone(name string) string {
	for _, mark := range []string{".constprop.", ".isra.", ".part.", ".cold", ".lto_priv.", ".llvm."} {
		if i := strings.Index(name, mark); i > 0 {
			name = name[:i]
		}
	}
	return name
}
