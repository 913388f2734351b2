package cli

import (
	"bytes"
	"debug/elf"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"sockleak/internal/elfguard"
	"sockleak/internal/rootfile"
)

const (
	// maxScripts is how many scripts may name one another, and maxFirstLine how much is
	// read of the first line of one, in bytes: execve(2), fs/exec.c (exec_binprm).
	maxScripts   = 5
	maxFirstLine = 256
	// maxCode bounds the files that a program is taken to begin with.
	maxCode = 64
	// javaLauncher is the library of Java's launcher, which loads the virtual machine
	// from beside it (src/java.base/share/native/libjli/java.c of OpenJDK; lib/jvm.cfg may
	// name another than this one). That is where it lies from JDK 9 on (JEP 220).
	javaLauncher = "libjli.so"
	javaMachine  = "server/libjvm.so"
)

// codeOf returns the files with the code that a program begins with, as far as they tell
// it: of a script those of its interpreter, and of a dynamic program its loader and the
// libraries that are named and lie beside that, as a distribution's do, or in the
// program's ../lib, as /usr/local's; of Java's launcher the virtual machine too. path is as
// exec.LookPath gives it. What isn't found is left out.
func codeOf(path string) []string {
	file, ok := binary(path)
	if !ok {
		return []string{}
	}
	loader, libraries := linked(file)
	files := []string{file}
	if loader == "" {
		return files
	}
	files = appendNew(files, loader)
	places := []string{filepath.Dir(loader), filepath.Join(filepath.Dir(file), "../lib")}
	for i := 0; i < len(files); i++ {
		if i > 0 {
			_, libraries = linked(files[i])
		}
		if filepath.Base(files[i]) == javaLauncher {
			libraries = append(libraries, javaMachine)
		}
		for _, name := range libraries {
			for _, place := range places {
				if path, err := filepath.EvalSymlinks(filepath.Join(place, name)); err == nil {
					files = appendNew(files, path)
					break
				}
			}
		}
	}
	return files
}

// binary follows the first lines of scripts, see execve(2), to the file that runs.
func binary(path string) (string, bool) {
	for range maxScripts + 1 {
		file, err := filepath.EvalSymlinks(path)
		if err != nil {
			return "", false
		}
		if path = interpreter(file); path == "" {
			return file, true
		}
	}
	return "", false
}

// interpreter returns the interpreter of a script: what env(1) finds in $PATH, where that
// is to look for one. It is empty if the file is no script, or can't be read.
func interpreter(script string) string {
	f, _, err := rootfile.Open(script)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, maxFirstLine)
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return ""
	}
	line, _, _ := bytes.Cut(head[:n], []byte("\n"))
	words, isScript := bytes.CutPrefix(line, []byte("#!"))
	argv := strings.Fields(string(words))
	if !isScript || len(argv) == 0 {
		return ""
	}
	if filepath.Base(argv[0]) != "env" {
		return argv[0]
	}
	for _, arg := range argv[1:] {
		if arg[0] == '-' || strings.Contains(arg, "=") {
			continue
		}
		if path, err := exec.LookPath(arg); err == nil {
			return path
		}
		break
	}
	return argv[0]
}

// linked returns the loader that an ELF file names, and the libraries.
func linked(path string) (loader string, libraries []string) {
	f, _, err := rootfile.Open(path)
	if err != nil {
		return "", nil
	}
	defer f.Close()
	// What is damaged has none.
	_ = elfguard.Do(path, func() error {
		program, err := elf.NewFile(elfguard.NewReader(f, elfguard.MaxRead))
		if err != nil {
			return err
		}
		for _, p := range program.Progs {
			if p.Type != elf.PT_INTERP || p.Filesz > maxFirstLine {
				continue
			}
			name, err := io.ReadAll(p.Open())
			if err != nil {
				return err
			}
			if loader, err = filepath.EvalSymlinks(string(bytes.TrimRight(name, "\x00"))); err != nil {
				return err
			}
		}
		libraries, err = program.ImportedLibraries()
		return err
	})
	return loader, libraries
}

func appendNew(files []string, file string) []string {
	if slices.Contains(files, file) || len(files) == maxCode {
		return files
	}
	return append(files, file)
}
