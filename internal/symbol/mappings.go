package symbol

import (
	"fmt"
	"os"
)

// Mappings reads the executable mappings of a process now. The error is ErrGone
// when it is not there any more.
func Mappings(pid uint32) ([]Mapping, error) {
	path := fmt.Sprintf("/proc/%d/maps", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, procError(path, err)
	}
	parsed, err := parseMaps(nil, text, func(b []byte) string { return string(b) })
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(parsed) == 0 {
		return nil, ErrGone // a zombie has no memory left
	}
	maps := make([]Mapping, len(parsed))
	for i, m := range parsed {
		maps[i] = Mapping{Start: m.start, End: m.end, Offset: m.offset, Dev: m.dev, Inode: m.inode, Path: m.path}
	}
	return maps, nil
}
