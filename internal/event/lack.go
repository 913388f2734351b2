package event

// Lack says why a socket has no stack of its own, or none but a lesser one where
// complete ones are taken.
type Lack uint8

// The reasons. LackNone: nothing is lacking, or nothing better was wanted.
const (
	LackNone    Lack = iota
	LackEarly        // made before complete stacks were there
	LackUnknown      // of a process that the unwinder did not know yet
	LackLost         // taken, and lost on the way from the kernel
	LackSpared       // not taken, to stay within the budget
	LackCrowded      // not copied, because its process made too many at once
)

// String says it in words that follow those of the socket.
func (l Lack) String() string {
	switch l {
	case LackEarly:
		return "made before complete stacks were there"
	case LackUnknown:
		return "the process was not known yet when the stack was to be taken"
	case LackLost:
		return "stack lost"
	case LackSpared:
		return "stack left out by --stack-rate"
	case LackCrowded:
		return "stack lost: more were made at once than are copied"
	}
	return ""
}
