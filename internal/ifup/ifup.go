// Package ifup brings the loopback interface of a new network namespace, or of a
// machine that has just started, up.
package ifup

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Loopback sets lo up in the calling thread's network namespace (netdevice(7)), which takes
// CAP_NET_ADMIN there.
func Loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("name lo: %w", err)
	}
	lo.SetUint16(unix.IFF_UP)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	return nil
}
