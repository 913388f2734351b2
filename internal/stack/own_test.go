package stack

import (
	"slices"
	"testing"
)

const libcFile = "/lib/x86_64-linux-gnu/libc.so.6"

func native(function, module string) Frame {
	return Frame{Function: function, Module: module, Kind: Native}
}

func inGo(functions ...string) []Frame {
	var frames []Frame
	for _, fn := range functions {
		frames = append(frames, Frame{Function: fn, Module: "/app", Kind: Go})
	}
	return frames
}

func TestCulprit(t *testing.T) {
	start := native("__libc_start_call_main", libcFile)
	tests := []struct {
		name   string
		exe    string
		frames []Frame
		want   int
	}{
		{"no frames", "/app", nil, -1},
		{"C", "/app", []Frame{native("socket", libcFile), native("dial", "/app"), native("main", "/app"), start}, 1},
		{"C in a library of its own", "/app", []Frame{native("socket", libcFile), native("dial", "/opt/libdial.so.3"), native("main", "/app")}, 1},
		{"old libc", "/app", []Frame{native("socket", "/lib/libc-2.31.so"), native("main", "/app")}, 1},
		{"deleted libc", "/app", []Frame{native("socket", libcFile+" (deleted)"), native("main", "/app")}, 1},
		{"static C", "/app", []Frame{native("__socket", "/app"), native("dial", "/app"), native("main", "/app")}, 1},
		{"static C, of a process that is gone", "", []Frame{native("__socket", "/app"), native("dial", "/app"), native("main", "/app")}, 1},
		{"static C, a read", "/app", []Frame{native("__libc_read", "/app"), native("drain", "/app"), native("main", "/app")}, 1},
		{"only libc", "/app", []Frame{native("socket", libcFile), native("start_thread", libcFile), native("clone3", libcFile)}, -1},
		{"stripped", "/app", []Frame{native("socket", libcFile), native("", "/app"), native("", "/app"), start}, 1},
		{"stripped, name further up", "/app", []Frame{native("socket", libcFile), native("", "/app"), native("main", "/app")}, 2},
		{"C++ through asio", "/app", []Frame{native("socket", libcFile), native("boost::asio::detail::socket_ops::socket", "/app"),
			native("Crawler::fetch", "/app"), native("main", "/app")}, 2},
		{"libuv", "/app", []Frame{native("socket", libcFile), native("uv__socket", "/usr/lib/libuv.so.1"), native("connect_all", "/app")}, 2},
		{"Rust", "/app", []Frame{native("socket", libcFile), native("std::sys::net::connection::socket::Socket::new", "/app"),
			native("<std::net::tcp::TcpStream>::connect", "/app"), native("crawler::fetch", "/app"),
			native("std::rt::lang_start::{{closure}}", "/app"), native("main", "/app")}, 3},
		{"Rust, inlined from a crate", "/app", []Frame{native("socket", libcFile), {Function: "pool::Pool::grow", Module: "/app",
			File: "/root/.cargo/registry/src/index/r2d2/src/lib.rs", Kind: Native}, native("crawler::fetch", "/app")}, 2},
		{"Go", "/app", inGo("internal/runtime/syscall.Syscall6", "syscall.RawSyscall6", "syscall.socket", "net.sysSocket",
			"net.(*Dialer).DialContext", "net/http.(*Transport).dialConn", "main.fetch", "runtime.main", "runtime.goexit"), 6},
		{"Go, own module without a dot", "/app", inGo("net.(*Dialer).Dial", "myapp/pool.(*Pool).grow", "main.main"), 1},
		{"Go, a module of others", "/app", inGo("net.(*Dialer).Dial", "golang.org/x/net/proxy.dialContext", "github.com/lib/pq.(*conn).open"), 2},
		{"Go, a generic function", "/app", inGo("net.(*Dialer).Dial", "sync.OnceValue[...].func1", "myapp.Open[go.shape.string]"), 2},
		{"Go, only the library", "/app", inGo("net.(*Dialer).Dial", "net/http.(*Transport).dialConnFor", "runtime.goexit"), 1},
		{"Python", "/usr/bin/python3.11", []Frame{native("socket", libcFile), native("sock_initobj", "/usr/lib/python3.11/lib-dynload/_socket.cpython-311-x86_64-linux-gnu.so"),
			native("_PyEval_EvalFrameDefault", "/usr/bin/python3.11"),
			{Function: "__init__", File: "/usr/lib/python3.11/socket.py", Line: 232, Kind: Python},
			{Function: "poll", File: "/srv/poll.py", Line: 9, Kind: Python}}, 4},
		{"Python, a package", "/usr/bin/python3.11", []Frame{
			{Function: "connect", File: "/usr/lib/python3.11/http/client.py", Kind: Python},
			{Function: "request", File: "/venv/lib/python3.11/site-packages/acme/api.py", Kind: Python}}, 1},
		{"Python, a network library", "/usr/bin/python3.11", []Frame{
			{Function: "connect", File: "/usr/lib/python3.11/http/client.py", Kind: Python},
			{Function: "create_connection", File: "/usr/lib/python3/dist-packages/urllib3/util/connection.py", Kind: Python},
			{Function: "poll", File: "/srv/poll.py", Kind: Python}}, 2},
		{"Python, walked as native", "/usr/bin/python3.11", []Frame{native("socket", libcFile), native("PyEval_EvalCode", "/usr/bin/python3.11")}, -1},
		{"Python, names not read", "/usr/bin/python3.11", []Frame{native("socket", libcFile), {Kind: Python, Address: 7}, {Kind: Java, Address: 9}}, -1},
		{"Node", "/usr/bin/node", []Frame{native("uv_tcp_init", "/usr/bin/node"), {Function: "connect", File: "node:net", Line: 1, Kind: Node},
			{Function: "check", File: "/srv/app.js", Line: 12, Kind: Node}}, 2},
		{"Java", "/usr/bin/java", []Frame{native("Java_sun_nio_ch_Net_socket0", "/jdk/lib/libnet.so"), {Function: "sun.nio.ch.Net.socket", Kind: Java},
			{Function: "com.example.Pool.open", Kind: Java}}, 2},
		{"Ruby", "/usr/bin/ruby3.1", []Frame{{Function: "initialize", File: "/usr/lib/ruby/3.1.0/net/http.rb", Kind: Ruby},
			{Function: "poll", File: "/srv/poll.rb", Kind: Ruby}}, 1},
		{"Ruby, through C", "/usr/bin/ruby3.1", []Frame{native("socket", libcFile), native("rsock_socket", "/usr/lib/x86_64-linux-gnu/ruby/3.1.0/socket.so"),
			native("rb_vm_exec", "/usr/lib/x86_64-linux-gnu/libruby-3.1.so.3.1.2"), {Function: "<unknown cfunc>", File: "<cfunc>", Kind: Ruby},
			{Function: "poll", File: "/srv/poll.rb", Line: 7, Kind: Ruby}}, 4},
		{"Ruby, walked as native", "/usr/bin/ruby3.1", []Frame{native("socket", libcFile), native("rsock_socket", "/opt/ruby/lib/ruby/3.1.0/x86_64-linux/socket.so"),
			native("rb_vm_exec", "/usr/lib/x86_64-linux-gnu/libruby-3.1.so.3.1.2")}, -1},
		{"Ruby, a gem in C", "/usr/bin/ruby3.1", []Frame{native("socket", libcFile),
			native("open_port", "/var/lib/gems/3.1.0/gems/serial-port-1.2.7/lib/port.so")}, 1},
		{"Ruby, a gem", "/usr/bin/ruby3.1", []Frame{{Function: "initialize", File: "/usr/lib/ruby/3.1.0/net/http.rb", Kind: Ruby},
			{Function: "call", File: "/usr/lib/ruby/gems/3.1.0/gems/acme-0.3/lib/acme.rb", Kind: Ruby}}, 1},
		{"Ruby, a network library", "/usr/bin/ruby3.1", []Frame{native("socket", libcFile),
			native("EventMachine_t::ConnectToServer", "/var/lib/gems/3.1.0/gems/eventmachine-1.2.7/lib/rubyeventmachine.so"),
			{Function: "connect", File: "/var/lib/gems/3.1.0/gems/eventmachine-1.2.7/lib/eventmachine.rb", Kind: Ruby},
			{Function: "connect", File: "/var/lib/gems/3.1.0/bundler/gems/em-http-request-0f1e2d/lib/em-http.rb", Kind: Ruby},
			{Function: "poll", File: "/srv/poll.rb", Kind: Ruby}}, 4},
		{"Ruby, a network library's extension", "/usr/bin/ruby3.1", []Frame{
			native("Puma_HTTP11", "/usr/lib/ruby/gems/3.1.0/extensions/x86_64-linux/3.1.0/puma-5.6.5/puma/puma_http11.so"),
			{Function: "send", File: "/usr/lib/ruby/gems/3.1.0/gems/net-smtp-0.3.1/lib/net/smtp.rb", Kind: Ruby},
			{Function: "mail", File: "/srv/mail.rb", Kind: Ruby}}, 2},
		{"Ruby, Fedora's", "/usr/bin/ruby", []Frame{native("socket", libcFile), native("rsock_socket", "/usr/lib64/ruby/socket.so"),
			{Function: "connect", File: "/usr/share/ruby/net/http.rb", Kind: Ruby}, {Function: "poll", File: "/srv/share/ruby/poll.rb", Kind: Ruby}}, 3},
		{"Ruby, SUSE's", "/usr/bin/ruby", []Frame{native("socket", libcFile), native("rsock_socket", "/usr/lib64/ruby/3.4.0/x86_64-linux-gnu/socket.so"),
			{Function: "connect", File: "/usr/lib64/ruby/3.4.0/net/http.rb", Kind: Ruby}, {Function: "poll", File: "/srv/poll.rb", Kind: Ruby}}, 3},
		{"Ruby, the program's own directory", "/usr/bin/ruby3.1", []Frame{{Function: "poll", File: "/srv/lib/app/ruby/poll.rb", Kind: Ruby}}, 0},
		{"cgo", "/app", append([]Frame{native("socket", libcFile), native("", "/app")}, inGo("runtime.asmcgocall", "main._Cfunc_dial", "main.dial")...), 4},
		{"vdso and nothing", "/app", []Frame{native("__kernel_vsyscall", "[vdso]"), native("", "")}, -1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Culprit(test.frames, test.exe); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
		})
	}
}

func TestFolded(t *testing.T) {
	tests := []struct {
		name   string
		frames []Frame
		want   []bool
	}{
		{"C", []Frame{native("socket", libcFile), native("dial", "/app"), native("g_main_loop_run", "/usr/lib/libglib-2.0.so.0"),
			native("main", "/app"), native("__libc_start_call_main", libcFile), native("_start", "/app")},
			[]bool{true, false, false, false, true, true}},
		{"thread", []Frame{native("work", "/app"), native("start_thread", libcFile), native("clone3", libcFile)}, []bool{false, true, true}},
		{"Go", inGo("internal/runtime/syscall.Syscall6", "syscall.socket", "net.sysSocket", "main.fetch", "main.main", "runtime.main", "runtime.goexit"),
			[]bool{true, true, false, false, false, true, true}},
		{"Python", []Frame{native("socket", libcFile), native("sock_initobj", "/usr/bin/python3.11"), {Function: "check", File: "/srv/a.py", Kind: Python},
			native("extension_call", "/srv/ext.cpython-311.so"), native("_PyEval_EvalFrameDefault", "/usr/lib/libpython3.11.so.1.0")},
			[]bool{true, true, false, false, true}},
		{"Ruby, walked as native", []Frame{native("rsock_socket", "/usr/lib/libruby-3.1.so.3.1"), native("main", "/usr/bin/ruby3.1")}, []bool{false, false}},
		{"Ruby", []Frame{native("socket", libcFile), native("rsock_socket", "/usr/lib/ruby/3.1.0/socket.so"), native("rb_vm_exec", "/usr/lib/libruby-3.1.so.3.1"),
			{Function: "<unknown cfunc>", File: "<cfunc>", Kind: Ruby}, {Function: "Socket#initialize", File: "<cfunc>", Kind: Ruby}, {Function: "poll", File: "/srv/poll.rb", Kind: Ruby}},
			[]bool{true, false, true, true, false, false}},
		{"no code", []Frame{native("", "[vdso]"), native("", "")}, []bool{true, false}},
	}
	for _, test := range tests {
		if got := Folded(test.frames, "/app"); !slices.Equal(got, test.want) {
			t.Errorf("%s: got %v, want %v", test.name, got, test.want)
		}
	}
}
