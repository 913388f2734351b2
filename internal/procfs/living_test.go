package procfs

import (
	"os"
	"path/filepath"
	"testing"
)

func TestLiving(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"1/stat": "1 (lives) S 0", "1/task/1/stat": "1 (lives) S 0",
		// Its name says something else.
		"10/stat": "10 (a) S b) Z 1", "10/task/10/x": "", "10/task/11/x": "", "10/task/12/x": "",
		"11/stat": "11 (dead) X 1", "12/stat": "12 (lives) R 1",
		"20/stat": "20 (zombie) Z 1", "20/task/20/x": "",
		"30/x": "",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for pid, want := range map[uint32]uint32{1: 1, 10: 12, 20: 20, 30: 30, 40: 40} {
		if got := New(root).Living(pid); got != want {
			t.Errorf("process %d: %d, want %d", pid, got, want)
		}
	}
}
