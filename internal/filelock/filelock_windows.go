package filelock

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// NoFollow is the flag of opening that refuses a symbolic link, where the system has one.
const NoFollow = 0

// Try locks f for this process alone, until it is closed. The byte that is locked lies behind any that is read: on
// Windows locked bytes cannot be read.
func Try(f *os.File) (bool, error) {
	at := windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0,
		1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}
