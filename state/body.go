package state

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/pace"
)

// spoolAbove is how much of a body is kept in memory.
const spoolAbove = 8 << 20

// spool keeps a body until it is known to be whole and right. Write it, then use it as a reader, then close it.
type spool struct {
	dir   string
	limit int64
	mem   bytes.Buffer
	file  *os.File
	named bool // the file still has its name
	// unlessKept leaves out a version that stays readable when it is replaced.
	unlessKept bool
	io.ReadSeeker
}

func (s *Store) newSpool() *spool {
	limit := s.spoolAbove
	if limit == 0 {
		limit = spoolAbove
	}
	return &spool{dir: s.SpoolDir, limit: limit}
}

// spoolError is a failure of the local disk, which trying the store again does not heal.
type spoolError struct{ err error }

func (e *spoolError) Error() string {
	return fmt.Sprintf("%v: keep the state on disk while it is checked: %v", statelatch.ErrBroken, e.err)
}
func (e *spoolError) Unwrap() []error { return []error{statelatch.ErrBroken, e.err} }

// expect makes room for a body of that size. Another size costs no more than time.
func (s *spool) expect(size int64) error {
	if size > s.limit {
		return s.spill()
	}
	s.mem.Grow(int(max(size, 0)))
	return nil
}

func (s *spool) Write(p []byte) (int, error) {
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
		err = &spoolError{err}
	}
	return n, err
}

// spill moves the body to a file. It loses its name at once where the system allows that, so that a
// crash leaves no state behind.
func (s *spool) spill() error {
	f, err := os.CreateTemp(s.dir, "statelatch-state-") // mode 0600
	if err != nil {
		return &spoolError{err}
	}
	s.file, s.named = f, os.Remove(f.Name()) != nil
	if _, err := f.Write(s.mem.Bytes()); err != nil {
		return &spoolError{err}
	}
	s.mem = bytes.Buffer{}
	return nil
}

// rewind turns the spool into a reader of what was written to it.
func (s *spool) rewind() error {
	s.ReadSeeker = bytes.NewReader(s.mem.Bytes())
	if s.file == nil {
		return nil
	}
	s.ReadSeeker = s.file
	if _, err := s.file.Seek(0, io.SeekStart); err != nil {
		return &spoolError{err}
	}
	return nil
}

// Close removes what was kept. It may be called more than once.
func (s *spool) Close() error {
	s.mem = bytes.Buffer{}
	s.ReadSeeker = strings.NewReader("")
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

// pieces is a body made of ranges of others, in their order, without a copy.
type pieces struct {
	list []piece
	at   int64 // offset of the next byte
	in   int   // the piece whose source stands at that offset; -1: none
}

type piece struct {
	from     io.ReadSeeker
	off, len int64
}

func text(s string) piece { return piece{strings.NewReader(s), 0, int64(len(s))} }

func join(list ...piece) *pieces { return &pieces{list: list, in: -1} }

func (p *pieces) Read(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	rest := p.at
	for i, piece := range p.list {
		if rest >= piece.len {
			rest -= piece.len
			continue
		}
		if p.in != i {
			if _, err := piece.from.Seek(piece.off+rest, io.SeekStart); err != nil {
				return 0, err
			}
			p.in = i
		}
		n, err := piece.from.Read(b[:min(int64(len(b)), piece.len-rest)])
		p.at += int64(n)
		if errors.Is(err, io.EOF) {
			err = nil
			if n == 0 {
				err = io.ErrUnexpectedEOF // the source became shorter
			}
		}
		return n, err
	}
	return 0, io.EOF
}

func (p *pieces) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += p.at
	case io.SeekEnd:
		for _, piece := range p.list {
			offset += piece.len
		}
	}
	if offset < 0 {
		return 0, errors.New("seek before the start")
	}
	p.at, p.in = offset, -1
	return offset, nil
}

// nonceBlanks is the length of the blanks that a touch adds: 128 random bits.
const nonceBlanks = 128

// touched is a body without its trailing blanks, with fresh ones that no other write has (R1).
// Every JSON reader passes over them.
func touched(body io.ReadSeeker, v Version) []piece {
	return []piece{{body, 0, v.shape.end}, text(blankNonce())}
}

// blankNonce is 128 random bits in blanks.
func blankNonce() string {
	bits := pace.Nonce()
	blanks := make([]byte, 1, 1+nonceBlanks)
	blanks[0] = '\n'
	for i := range nonceBlanks {
		blanks = append(blanks, " \t"[bits[i/8]>>(i%8)&1])
	}
	return string(blanks)
}

// emptyState is an empty state as the engines write one, with a fresh lineage, which makes it unique (R1).
func emptyState(serial uint64) (body, lineage string) {
	id := pace.Nonce()
	lineage = fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
	return fmt.Sprintf(`{"version":4,"terraform_version":%q,"serial":%d,"lineage":%q,"outputs":{},"resources":[],"check_results":null}`+"\n",
		writerVersion, serial, lineage), lineage
}

// writerVersion is what a state of ours says about the engine that wrote it. The engines before 0.14 refuse a state
// of a later version than their own; format 4 began with 0.12.0; OpenTofu wants it not to be empty.
const writerVersion = "0.12.0"
