// Package spool keeps a body until it is known to be whole and right: in memory, or above a limit in a file without a
// name.
package spool

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/statelatch/statelatch"
)

// Spool keeps one body. Write it, then Rewind it and use it as a reader, then Close it. Only ReadAt is safe for
// concurrent use, after Rewind.
type Spool struct {
	dir   string
	limit int64
	mem   bytes.Buffer
	file  *os.File
	named bool // the file still has its name
	body
}

type body interface {
	io.ReadSeeker
	io.ReaderAt
}

// New returns an empty one, which keeps up to limit bytes in memory, and more in a file of mode 0600 in dir; empty:
// os.TempDir.
func New(dir string, limit int64) *Spool { return &Spool{dir: dir, limit: limit} }

// Error is a failure of the local disk, which trying the store again does not heal. It matches ErrBroken.
type Error struct {
	Err error // the system's
}

// Error names the disk as the cause.
func (e *Error) Error() string {
	return fmt.Sprintf("%v: keep the state on disk while it is checked: %v", statelatch.ErrBroken, e.Err)
}

// Unwrap is ErrBroken, and the cause.
func (e *Error) Unwrap() []error { return []error{statelatch.ErrBroken, e.Err} }

// Expect makes room for a body of that size. Another size costs no more than time. Errors are *Error.
func (s *Spool) Expect(size int64) error {
	if size > s.limit {
		return s.spill()
	}
	s.mem.Grow(int(max(size, 0)))
	return nil
}

// Write appends p. Errors are *Error.
func (s *Spool) Write(p []byte) (int, error) {
	if s.file == nil && int64(s.mem.Len()+len(p)) <= s.limit {
		return s.mem.Write(p)
	}
	if s.file == nil {
		if err := s.spill(); err != nil {
			return 0, err
		}
	}
	n, err := s.file.Write(p)
	if err != nil {
		err = &Error{err}
	}
	return n, err
}

// spill moves the body to a file. It loses its name at once where the system allows that, so that a
// crash leaves no state behind.
func (s *Spool) spill() error {
	f, err := os.CreateTemp(s.dir, "statelatch-state-") // mode 0600
	if err != nil {
		return &Error{err}
	}
	s.file, s.named = f, os.Remove(f.Name()) != nil
	if _, err := f.Write(s.mem.Bytes()); err != nil {
		return &Error{err}
	}
	s.mem = bytes.Buffer{}
	return nil
}

// Rewind turns the spool into a reader of what was written to it. Errors are *Error.
func (s *Spool) Rewind() error {
	s.body = bytes.NewReader(s.mem.Bytes())
	if s.file == nil {
		return nil
	}
	s.body = s.file
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return &Error{err}
	}
	return nil
}

// Close removes what was kept. It may be called more than once.
func (s *Spool) Close() error {
	s.mem = bytes.Buffer{}
	s.body = strings.NewReader("")
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if s.named {
		err = errors.Join(err, os.Remove(s.file.Name()))
	}
	s.file = nil
	return err
}
