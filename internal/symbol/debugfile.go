package symbol

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path"
	"strings"

	"github.com/ulikunitz/xz"

	"sockleak/internal/elfguard"
	"sockleak/internal/rootfile"
)

const (
	debugRoot = "/usr/lib/debug"
	maxNote   = 64 << 10
	// maxMini bounds an unpacked .gnu_debugdata, which has the names of the
	// functions of one file.
	maxMini = 64 << 20
	// maxDebugFile bounds what is read to check a file's CRC.
	maxDebugFile = 4 << 30
)

// findDebugFile finds the separate file with the debug information of f, whose
// path is as process pid sees it: by build-id, then by .gnu_debuglink, each in
// the mount namespace of the process, then in ours. All nil if there is none.
func findDebugFile(f *elf.File, name string, pid uint32) (*os.File, *elf.File, error) {
	id, err := buildID(f)
	if err != nil {
		return nil, nil, fmt.Errorf("build-id of %s: %w", name, err)
	}
	link, sum, err := debugLink(f)
	if err != nil {
		return nil, nil, fmt.Errorf("debug link of %s: %w", name, err)
	}
	roots := []string{fmt.Sprintf("/proc/%d/root", pid), "/"}
	if len(id) > 1 {
		x := hex.EncodeToString(id)
		at := path.Join(debugRoot, ".build-id", x[:2], x[2:]+".debug")
		sameID := func(_ *os.File, d *elf.File) (bool, error) {
			other, err := buildID(d)
			return bytes.Equal(id, other), err
		}
		if h, d, err := openDebug(roots, []string{at}, sameID); h != nil || err != nil {
			return h, d, err
		}
	}
	if link == "" {
		return nil, nil, nil
	}
	dir := path.Dir(strings.TrimSuffix(name, deletedMark))
	at := []string{path.Join(dir, link), path.Join(dir, ".debug", link), path.Join(debugRoot, dir, link)}
	return openDebug(roots, at, func(h *os.File, _ *elf.File) (bool, error) { return hasSum(h, sum) })
}

// openDebug opens the first of the files that belongs.
func openDebug(roots, paths []string, belongs func(*os.File, *elf.File) (bool, error)) (*os.File, *elf.File, error) {
	for _, root := range roots {
		for _, p := range paths {
			h, _, err := rootfile.OpenIn(root, p)
			if err != nil {
				continue // it is not there; elsewhere it may be
			}
			var d *elf.File
			ok := false
			err = elfguard.Do(h.Name(), func() (err error) {
				if d, err = elf.NewFile(h); err == nil {
					ok, err = belongs(h, d)
				}
				return err
			})
			if ok && err == nil {
				return h, d, nil
			}
			if err != nil {
				return nil, nil, errors.Join(fmt.Errorf("read %s: %w", path.Join(root, p), err), h.Close())
			}
			_ = h.Close() // only read from
		}
	}
	return nil, nil, nil
}

// hasSum checks the CRC that .gnu_debuglink gives.
func hasSum(h *os.File, want uint32) (bool, error) {
	sum := crc32.NewIEEE()
	n, err := io.Copy(sum, io.NewSectionReader(h, 0, maxDebugFile))
	return err == nil && n < maxDebugFile && sum.Sum32() == want, err
}

// buildID returns the descriptor of the NT_GNU_BUILD_ID note, nil if there is
// none.
func buildID(f *elf.File) ([]byte, error) {
	const gnuBuildID = 3
	for _, s := range f.Sections {
		if s.Type != elf.SHT_NOTE || s.Size > maxNote {
			continue
		}
		data, err := s.Data()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", s.Name, err)
		}
		c := cursor{b: data, order: f.ByteOrder}
		for len(c.b) > 0 && !c.bad {
			nameLen, descLen, kind := c.uint(4), c.uint(4), c.uint(4)
			name := c.take((nameLen + 3) &^ 3)
			desc := c.take((descLen + 3) &^ 3)
			if !c.bad && kind == gnuBuildID && bytes.HasPrefix(name, []byte("GNU\x00")) {
				return desc[:descLen], nil
			}
		}
	}
	return nil, nil
}

// debugLink returns the file name and CRC in .gnu_debuglink.
func debugLink(f *elf.File) (string, uint32, error) {
	s := f.Section(".gnu_debuglink")
	if s == nil || s.Size > maxNote {
		return "", 0, nil
	}
	data, err := s.Data()
	if err != nil {
		return "", 0, err
	}
	end := bytes.IndexByte(data, 0)
	sum := (end + 4) &^ 3
	if end <= 0 || sum+4 > len(data) || bytes.IndexByte(data[:end], '/') >= 0 {
		return "", 0, errors.New("malformed section")
	}
	return string(data[:end]), f.ByteOrder.Uint32(data[sum:]), nil
}

// miniDebug unpacks .gnu_debugdata, the ELF file with function names that some
// distributions leave in stripped files; nil if there is none.
func miniDebug(f *elf.File) (*elf.File, error) {
	s := f.Section(".gnu_debugdata")
	if s == nil || s.Type == elf.SHT_NOBITS {
		return nil, nil
	}
	r, err := xz.ReaderConfig{DictCap: maxMini}.NewReader(io.NewSectionReader(s, 0, int64(min(s.Size, maxMini))))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", s.Name, err)
	}
	data, err := io.ReadAll(io.LimitReader(r, maxMini+1))
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", s.Name, err)
	}
	if len(data) > maxMini {
		return nil, fmt.Errorf("unpack %s: more than %d MiB", s.Name, maxMini>>20)
	}
	mini, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", s.Name, err)
	}
	return mini, nil
}
