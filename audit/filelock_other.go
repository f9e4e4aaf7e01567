//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd || windows)

package audit

import (
	"errors"
	"os"
)

const noFollow = 0

func tryLock(*os.File) (bool, error) {
	return false, errors.New("audit logs in files need a file lock, which is not known for this system: use s3://, syslog: or https://")
}
