// Package treefile reads the files of directories that others have filled. Reading one never waits (a pipe, a device or
// a file of /proc in the place of a configuration is refused), takes no more memory than its limit says, and parsing
// one never recurses deeper than a fixed limit: a stack overflow cannot be recovered from in Go, so it is refused
// before a parser sees it.
package treefile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// MaxSize is how many bytes a configuration, a backend cache or a file for -backend-config may have.
const MaxSize = 4 << 20

var (
	// ErrNotRegular means that there is something else than a file under the name.
	ErrNotRegular = errors.New("it is not a regular file")
	// ErrTooLong means that a file is longer than its limit. Nothing of it was kept.
	ErrTooLong = errors.New("it is too long")
)

// pipeWait is how long a pipe that a person named has for its bytes.
const pipeWait = 30 * time.Second

// Read reads a regular file of at most limit bytes, through symbolic links. It reads as many bytes as the file system
// says that there are, so that a file of /proc is empty. Errors match [ErrNotRegular], [ErrTooLong], or what os.Open
// returns.
func Read(name string, limit int64) ([]byte, error) { return read(name, limit, false) }

// ReadNamed is [Read] for a file that a person named: it may be a pipe, as in -backend-config=<(command).
func ReadNamed(name string, limit int64) ([]byte, error) { return read(name, limit, true) }

func read(name string, limit int64, pipes bool) ([]byte, error) {
	allowed := func(m fs.FileMode) bool { return m.IsRegular() || pipes && m&fs.ModeNamedPipe != 0 }
	info, err := os.Stat(name) // first, because opening a device can do things
	if err != nil {
		return nil, err
	}
	if !allowed(info.Mode()) {
		return nil, &fs.PathError{Op: "read", Path: name, Err: ErrNotRegular}
	}
	f, err := os.OpenFile(name, os.O_RDONLY|nonblock, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil { // again, because it may be another by now
		return nil, err
	}
	size := info.Size()
	switch {
	case !allowed(info.Mode()):
		return nil, &fs.PathError{Op: "read", Path: name, Err: ErrNotRegular}
	case !info.Mode().IsRegular():
		_ = f.SetReadDeadline(time.Now().Add(pipeWait))
		size = limit + 1
	case size > limit:
		return nil, tooLong(name, limit)
	}
	data, err := io.ReadAll(io.LimitReader(f, size))
	if err == nil && int64(len(data)) > limit {
		err = tooLong(name, limit)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

func tooLong(name string, limit int64) error {
	return &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%w: more than %d bytes", ErrTooLong, limit)}
}
