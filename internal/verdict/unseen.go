package verdict

import (
	"fmt"
	"strings"
)

// Unseen takes the verdict of a report back where no process had any of the names
// that were asked for: of a name that was mistyped, nothing can be said. No names:
// some process had one, or none was asked for.
func Unseen(r *Report, names []string) {
	if len(names) == 0 {
		return
	}
	r.Verdict = Inconclusive
	r.Reasons = []string{fmt.Sprintf("no process called %s was seen: see ps -e -o comm", strings.Join(names, " or "))}
}
