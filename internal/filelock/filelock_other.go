//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package filelock

import (
	"errors"
	"os"
)

// NoFollow is the flag of opening that refuses a symbolic link, where the system has one.
const NoFollow = 0

// Try fails.
func Try(*os.File) (bool, error) {
	return false, errors.New("locks of files are not known for this system")
}
