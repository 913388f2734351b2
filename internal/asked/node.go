package asked

import "sockleak/internal/stack"

// Replaced reports whether a handle was made to try the next address of a host,
// in the place of one whose connect failed. Node does that in a callback
// (internalConnectMultiple in its lib/net.js), so who asked for the first is who
// asked for this one.
func Replaced(frames []stack.Frame) bool {
	for _, f := range frames {
		if f.Kind == stack.Node && f.Function == "internalConnectMultiple" {
			return true
		}
	}
	return false
}
