//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package boltstore

import (
	"os"
	"syscall"
)

// unlock releases the lock that bbolt took on a file. Closing the file is not enough
// after bbolt panicked: the lock lives as long as the file is mapped.
func unlock(file *os.File) {
	_ = syscall.Flock(int(file.Fd()), syscall.LOCK_UN) // fails if bbolt closed the file
}
