package symbol

import (
	"bytes"
	"fmt"
	"io"
	"os"
)

// newVDSO reads the code that the kernel maps into every process, from our own
// memory. That of 32-bit programs is another: their addresses get no names.
func (s *Symbolizer) newVDSO() (*image, error) {
	if err := s.readProc("/proc/self/maps"); err != nil {
		return nil, err
	}
	maps, err := parseMaps(nil, s.buf, func(b []byte) string { return string(b) })
	if err != nil {
		return nil, fmt.Errorf("read /proc/self/maps: %w", err)
	}
	for _, m := range maps {
		if m.path != "[vdso]" {
			continue
		}
		mem, err := os.Open("/proc/self/mem")
		if err != nil {
			return nil, fmt.Errorf("open own memory: %w", err)
		}
		defer mem.Close()
		data, err := io.ReadAll(io.NewSectionReader(mem, int64(m.start), int64(m.end-m.start)))
		if err != nil {
			return nil, fmt.Errorf("read the vdso: %w", err)
		}
		img, err := newImage(bytes.NewReader(data), m.path, 0)
		if img != nil {
			img.only = true
		}
		return img, err
	}
	return nil, fmt.Errorf("no vdso in /proc/self/maps")
}
