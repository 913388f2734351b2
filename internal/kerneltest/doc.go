// Package kerneltest has the tests of the whole job, with the command itself and
// with programs that leak, on whatever kernel they run. make test-kernels runs
// them on all that are supported; docs/kernels.md has the table.
package kerneltest
