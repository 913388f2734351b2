package langtest

import (
	"slices"
	"testing"

	"sockleak/internal/stack"
)

func TestOnPath(t *testing.T) {
	frames := func(names ...string) (all []stack.Frame) {
		for _, name := range names {
			all = append(all, stack.Frame{Function: name})
		}
		return all
	}
	nameless := stack.Frame{Module: "/usr/lib/libc.so.6"}
	process := frames("socket", "open", "deep", "deep", "main", Process)
	for name, test := range map[string]struct {
		frames    []stack.Frame
		functions []string
		want      bool
	}{
		"all of it":               {process, []string{"socket", "open", "deep", "deep", "main", Process}, true},
		"some of it":              {process, []string{"open", "main", Process}, true},
		"not to the start":        {process, []string{"socket", "open"}, true},
		"another order":           {process, []string{"open", "socket", Process}, false},
		"too many":                {process, []string{"deep", "deep", "deep", Process}, false},
		"ends before the start":   {process[:5], []string{"socket", Process}, false},
		"goes on after the start": {frames("socket", Process, "garbage"), []string{"socket", Process}, false},
		"another start":           {process, []string{"socket", Thread}, false},
		"a start without a name":  {append(frames("socket", "work"), nameless), []string{"socket", "work", Thread}, true},
		"one in between":          {append([]stack.Frame{nameless}, frames("work")...), []string{"work", Thread}, false},
		"none":                    {nil, []string{Process}, false},
	} {
		if got := OnPath(test.frames, test.functions); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	for _, test := range []struct {
		frames []stack.Frame
		want   bool
	}{{process, true}, {process[:5], false}, {nil, false}, {[]stack.Frame{nameless}, true}, {frames("main.main", Goroutine), true},
		{frames("rb_vm_exec", "take", RubyThread), true}, {frames("rb_vm_exec", "take"), false}} {
		if got := Whole(test.frames); got != test.want {
			t.Errorf("whole %v: %+v", got, test.frames)
		}
	}
}

func TestCodeName(t *testing.T) {
	code := Code{"main": {0x10, 0x20}, "open": {0x20, 0x30}}
	at := func(module string, addresses ...uint64) (all []stack.Frame) {
		for _, a := range addresses {
			all = append(all, stack.Frame{Module: module, Address: a})
		}
		return all
	}
	// Return addresses: the one behind a call that is the last of its function.
	var got []string
	for _, f := range code.Name(append(at("/exe", 0x10, 0x11, 0x20, 0x21, 0x30, 0x31), at("/lib", 0x11)...), "/exe") {
		got = append(got, f.Function)
	}
	if want := []string{"", "main", "main", "open", "open", "", ""}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
