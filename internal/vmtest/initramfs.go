package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// initramfs writes a cpio archive of the kind "newc", which is what the kernel
// unpacks at boot: Documentation/driver-api/early-userspace/buffer-format.rst.
type initramfs struct {
	w       io.Writer
	written int64
	inode   int
	dirs    map[string]bool
}

// File modes with their type, as mknod(2) has them.
const (
	modeDir    = 0o40755
	modeFile   = 0o100755
	modeDevice = 0o20600
)

func newInitramfs(w io.Writer) *initramfs {
	return &initramfs{w: w, dirs: map[string]bool{".": true, "/": true}}
}

// entry writes one file. major and minor are those of a device.
func (a *initramfs) entry(name string, mode uint32, data []byte, major, minor int) error {
	a.inode++
	name = strings.TrimPrefix(name, "/")
	// ino mode uid gid nlink mtime size devmajor devminor rdevmajor rdevminor namesize check
	head := fmt.Sprintf("070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		a.inode, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
	for _, part := range [][]byte{[]byte(head), data} {
		if err := a.write(part); err != nil {
			return fmt.Errorf("write %s to the initramfs: %w", name, err)
		}
	}
	return nil
}

// write pads what it wrote to four bytes.
func (a *initramfs) write(b []byte) error {
	n, err := a.w.Write(b)
	a.written += int64(n)
	if err != nil {
		return err
	}
	n, err = a.w.Write(make([]byte, -a.written&3))
	a.written += int64(n)
	return err
}

// mkdir makes a directory and those above it, once.
func (a *initramfs) mkdir(name string) error {
	if a.dirs[name] {
		return nil
	}
	if err := a.mkdir(path.Dir(name)); err != nil {
		return err
	}
	a.dirs[name] = true
	return a.entry(name, modeDir, nil, 0, 0)
}

func (a *initramfs) file(name string, data []byte) error {
	if err := a.mkdir(path.Dir(name)); err != nil {
		return err
	}
	return a.entry(name, modeFile, data, 0, 0)
}

func (a *initramfs) device(name string, major, minor int) error {
	if err := a.mkdir(path.Dir(name)); err != nil {
		return err
	}
	return a.entry(name, modeDevice, nil, major, minor)
}

// copyFile takes a file of this machine.
func (a *initramfs) copyFile(name, from string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return a.file(name, data)
}

// copyTree takes a directory of this machine. Links are followed, because what
// they lead to may be outside.
func (a *initramfs) copyTree(name, dir string) error {
	return filepath.WalkDir(dir, func(from string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(name, strings.TrimPrefix(from, dir))
		if d.IsDir() {
			return a.mkdir(to)
		}
		return a.copyFile(to, from)
	})
}

func (a *initramfs) close() error { return a.entry("TRAILER!!!", 0, nil, 0, 0) }
