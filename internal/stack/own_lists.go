package stack

import (
	"path"
	"strings"
)

// The lists below are data: what each language and its usual libraries call
// their own. They are read only.

var cLibraries = map[string]bool{
	"libc": true, "libpthread": true, "libdl": true, "librt": true, "libm": true, "libresolv": true,
	"libanl": true, "libnsl": true, "libgcc_s": true,
}

var foreignLibraries = map[string]bool{
	"libstdc++": true, "libc++": true, "libc++abi": true, "libuv": true, "libssl": true, "libcrypto": true,
	"libgnutls": true, "libnghttp2": true, "libcares": true, "libcurl": true, "libcurl-gnutls": true,
	"libevent": true, "libev": true, "libpq": true, "libmysqlclient": true, "libmariadb": true, "libhiredis": true,
	"libzmq": true, "libnode": true, "libjvm": true, "libjli": true, "libnet": true, "libnio": true, "libjava": true,
	"libruby": true, "libtcmalloc": true, "libjemalloc": true, "libunwind": true, "libglib-2.0": true,
	"libgio-2.0": true, "libldap": true, "libkrb5": true, "libasan": true, "libtsan": true,
}

// foreignFamilies are the beginnings of library names that have a version in them.
var foreignFamilies = []string{
	"libnss_", "libpython", "libruby", "libboost_", "libevent_", "libevent-", "libstd-", "libgrpc", "_socket.cpython",
	"_ssl.cpython", "loop.cpython", // uvloop
	"libicu", "libglib", "libgio", "libnode",
}

// runtimeFamilies are how the libraries of interpreters begin.
var runtimeFamilies = []string{"libpython", "libruby", "libnode", "libjvm", "libjli", "libjava", "libnet", "libnio"}

// libcFunctions are the functions that make sockets, use them as event.Use tells, or
// lead there, by their names in a statically linked program, without leading
// underscores.
var libcFunctions = map[string]bool{
	"socket": true, "socketpair": true, "accept": true, "accept4": true, "connect": true, "syscall": true,
	"libc_accept": true, "libc_accept4": true, "libc_connect": true, "libc_socket": true, "internal_syscall_cancel": true,
	"syscall_cancel": true, "syscall_cancel_arch": true, "syscall_cp_c": true, "syscall_cp": true, "syscall_cp_asm": true,
	"getaddrinfo": true, "gaih_inet": true, "open_socket": true, "open_nscd_socket": true, "res_nsend": true,
	"res_context_send": true, "res_context_query": true, "res_context_search": true, "libc_start_call_main": true,
	"read": true, "readv": true, "recv": true, "recvfrom": true, "recvmsg": true, "write": true, "writev": true, "send": true,
	"sendto": true, "sendmsg": true, "shutdown": true, "epoll_ctl": true, "getsockopt": true, "libc_read": true, "libc_readv": true,
	"libc_recv": true, "libc_recvfrom": true, "libc_recvmsg": true, "libc_write": true, "libc_writev": true, "libc_send": true,
	"libc_sendto": true, "libc_sendmsg": true,
}

// nativePrefixes are the namespaces and crates of C++ and Rust that are not the
// program's own, whatever file they are compiled into.
var nativePrefixes = []string{
	"std::", "core::", "alloc::", "__gnu_cxx::", "__cxxabiv1::", "boost::asio::", "boost::beast::", "uv_", "uv__",
	"tokio::", "tokio_rustls::", "tokio_util::", "mio::", "hyper::", "hyper_util::", "socket2::", "reqwest::", "rustls::",
	"futures::", "futures_util::", "futures_core::", "async_std::", "async_io::", "smol::", "tower::", "h2::", "nix::",
	"rustix::", "libc::", "ureq::", "openssl::", "native_tls::", "_rust_", "__rust_", "rust_begin_unwind", "grpc::", "grpc_core::",
	"SSL_", "BIO_",
}

// nativeLibrary judges a function by its name. Rust writes methods of traits as
// "<type as trait>::method"; there the type decides, and for a closure or a
// generic that is called through the standard library, what comes first does.
func nativeLibrary(function string) bool {
	name := strings.TrimLeft(function, "<&*")
	name = strings.TrimPrefix(name, "mut ")
	name = strings.TrimPrefix(name, "dyn ")
	return hasPrefix(name, nativePrefixes)
}

// rustLibraryFile knows the sources of Rust's library and of crates from a
// registry, which is how inlined ones are told from the program's own.
func rustLibraryFile(file string) bool {
	return strings.HasPrefix(file, "/rustc/") || strings.Contains(file, "/.cargo/registry/") ||
		strings.Contains(file, "/cargo/registry/src/") || strings.Contains(file, "/lib/rustlib/src/rust/")
}

var javaPrefixes = []string{
	"java.", "javax.", "sun.", "jdk.", "com.sun.", "jakarta.", "io.netty.", "okhttp3.", "okio.", "org.apache.http.",
	"org.apache.hc.", "scala.", "kotlin.", "kotlinx.",
}

// goTopLevel are the first elements of the import paths of Go's standard
// library. A program's own module can have a name without a dot as well.
var goTopLevel = map[string]bool{
	"archive": true, "bufio": true, "bytes": true, "cmp": true, "compress": true, "container": true, "context": true,
	"crypto": true, "database": true, "debug": true, "embed": true, "encoding": true, "errors": true, "expvar": true,
	"flag": true, "fmt": true, "go": true, "hash": true, "html": true, "image": true, "index": true, "internal": true,
	"io": true, "iter": true, "log": true, "maps": true, "math": true, "mime": true, "net": true, "os": true, "path": true,
	"plugin": true, "reflect": true, "regexp": true, "runtime": true, "simd": true, "slices": true, "sort": true,
	"strconv": true, "strings": true, "structs": true, "sync": true, "syscall": true, "testing": true, "text": true,
	"time": true, "unicode": true, "unique": true, "unsafe": true, "vendor": true, "weak": true,
}

// goStandard says whether a function is of Go's standard library, or of
// golang.org/x/net and x/sys, which are its continuation, or made by cgo.
func goStandard(function string) bool {
	if function == "" {
		return true
	}
	pkg := goPackage(function)
	first, _, _ := strings.Cut(pkg, "/")
	return goTopLevel[first] || pkg == "golang.org/x/net" || pkg == "golang.org/x/sys" ||
		strings.HasPrefix(pkg, "golang.org/x/net/") || strings.HasPrefix(pkg, "golang.org/x/sys/") ||
		strings.HasPrefix(function, "_cgo") || strings.HasPrefix(function, "x_cgo") ||
		strings.Contains(function, "._Cfunc_")
}

// goPackage returns the import path in a function's name: "net/http" of
// "net/http.(*Client).Do". Types in brackets have slashes and dots of their own.
func goPackage(function string) string {
	head, _, _ := strings.Cut(function, "[")
	head, _, _ = strings.Cut(head, "(")
	slash := strings.LastIndexByte(head, '/') + 1
	if dot := strings.IndexByte(head[slash:], '.'); dot >= 0 {
		return head[:slash+dot]
	}
	return head
}

// goSyscall says whether a function is one of the wrappers around system calls
// at the top of every Go stack.
func goSyscall(function string) bool {
	switch goPackage(function) {
	case "internal/runtime/syscall", "runtime/internal/syscall", "internal/runtime/syscall/linux", "syscall":
		return true
	}
	return false
}

// pythonNetwork are the packages through which Python programs connect.
var pythonNetwork = map[string]bool{
	"requests": true, "urllib3": true, "httplib2": true, "httpx": true, "httpcore": true, "aiohttp": true,
	"aiohappyeyeballs": true, "anyio": true, "h11": true, "h2": true, "websockets": true, "websocket": true,
	"uvloop": true, "tornado": true, "gevent": true, "eventlet": true, "trio": true, "twisted": true,
}

// pythonStandard says whether a file is of Python's own library, or of one of
// the usual network libraries. Other packages that were installed beside it are
// the program's: who leaks there is worth knowing.
func pythonStandard(file string) bool {
	if file == "" || strings.HasPrefix(file, "<frozen ") {
		return true
	}
	for _, dir := range []string{"/site-packages/", "/dist-packages/"} {
		if _, module, ok := strings.Cut(file, dir); ok {
			name, _, _ := strings.Cut(module, "/")
			return pythonNetwork[name]
		}
	}
	_, rest, ok := strings.Cut(file, "/lib/python3")
	return ok && strings.Contains(rest, "/")
}

// rubyC is the file of frames of Ruby that are functions in C, and rubyNameless the name
// of those whose own can't be read, as the OpenTelemetry eBPF profiler has them.
const rubyC, rubyNameless = "<cfunc>", "<unknown cfunc>"

// rubyNetwork are the gems through which Ruby programs connect and accept.
var rubyNetwork = map[string]bool{
	"async": true, "async-http": true, "async-io": true, "async-pool": true, "celluloid-io": true, "em-http-request": true,
	"em-socksify": true, "em-websocket": true, "ethon": true, "eventmachine": true, "excon": true, "faraday": true,
	"faraday-net_http": true, "faye-websocket": true, "http": true, "http-2": true, "httparty": true, "httpclient": true,
	"io-event": true, "io-stream": true, "net-ftp": true, "net-http": true, "net-http-persistent": true, "net-imap": true,
	"net-pop": true, "net-protocol": true, "net-smtp": true, "nio4r": true, "openssl": true, "patron": true, "puma": true, "rest-client": true, "thin": true, "typhoeus": true, "websocket-driver": true,
}

// rubyStandard says whether a file is of Ruby's own library, of what a distribution
// installs beside it, or of one of the usual network libraries. Other gems are the
// program's: who leaks there is worth knowing.
func rubyStandard(file string) bool {
	if file == "" || file == rubyC || strings.HasPrefix(file, "<internal:") {
		return true
	}
	file = path.Clean(file)
	if at := strings.LastIndex(file, "/gems/"); at >= 0 {
		// gems/NAME-VERSION, or gems/3.1.0/extensions/TRIPLET/3.1.0/NAME-VERSION.
		names := strings.Split(file[at+len("/gems/"):], "/")
		if len(names) > 4 && names[1] == "extensions" {
			names = names[4:]
		}
		return rubyNetwork[names[0][:max(0, strings.LastIndexByte(names[0], '-'))]]
	}
	const dir = "/ruby/"
	for at := strings.Index(file, dir); at >= 0; {
		if rubyLibrary(file[:at], file[at+len(dir):]) {
			return true
		}
		next := strings.Index(file[at+1:], dir)
		if next < 0 {
			break
		}
		at += 1 + next
	}
	return false
}

// rubyLibrary says whether before/ruby is a directory of Ruby's library, and not one of
// that name, by what follows in it. Debian has what is in C in lib/TRIPLET/ruby, Fedora in
// lib64/ruby and the rest in share/ruby.
func rubyLibrary(before, rest string) bool {
	parent := path.Dir(before)
	switch path.Base(before) {
	case "lib", "lib64":
		return true
	case "share":
		return parent == "/usr" || parent == "/usr/local"
	}
	of, _, _ := strings.Cut(rest, "/")
	versioned := of == "vendor_ruby" || of == "site_ruby" || of != "" && of[0] >= '0' && of[0] <= '9'
	return versioned && path.Base(parent) == "lib"
}
