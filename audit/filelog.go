package audit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/filelock"
)

// FileLog is a log in a file of mode 0600, one line of JSON an event, with its head in a second file, PATH.head.
// Processes that write at the same time exclude each other by a lock of the operating system on the file. To start a
// new log move both files away.
type FileLog struct {
	// Keys sign what is appended. They must not be changed once it is in use.
	Keys Keys

	path string
}

// NewFileLog is the log in the file at path, which need not exist.
func NewFileLog(path string) *FileLog { return &FileLog{path: path} }

// String is file:PATH.
func (l *FileLog) String() string { return "file:" + l.path }

func (l *FileLog) headPath() string { return l.path + ".head" }

// Append writes e as one line, synced before it returns. The rest of a line that a crash left half written, which
// nobody was told is stored, goes first.
func (l *FileLog) Append(ctx context.Context, e Event) (err error) {
	f, err := l.open(ctx)
	if err != nil {
		return fmt.Errorf("audit log %s: %w", l, err)
	}
	defer func() {
		err = errors.Join(err, f.Close()) // which unlocks it
		if err != nil {
			err = fmt.Errorf("audit log %s: %w", l, err)
		}
	}()
	last, end, err := l.last(f)
	if err != nil {
		return err
	}
	raw, is := last.next(e, l.Keys...)
	if err := f.Truncate(end); err != nil {
		return err
	}
	if _, err = f.Write(append(raw, '\n')); err == nil {
		err = f.Sync()
	}
	if err != nil {
		return errors.Join(err, f.Truncate(end))
	}
	if err := l.writeHead(is); err != nil {
		return fmt.Errorf("event %d is stored, but the head was not moved to it: %w", is.Seq, err)
	}
	return nil
}

// open opens the file and locks it, waiting until ctx ends.
func (l *FileLog) open(ctx context.Context) (*os.File, error) {
	for {
		f, err := os.OpenFile(l.path, os.O_RDWR|os.O_CREATE|os.O_APPEND|filelock.NoFollow, 0o600)
		if err != nil {
			return nil, err
		}
		is, err := f.Stat()
		if err == nil && !is.Mode().IsRegular() {
			err = fmt.Errorf("%w: it is not a regular file", statelatch.ErrInvalid)
		}
		if err == nil {
			err = lockFile(ctx, f)
		}
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(is, now) {
			return f, nil
		}
		_ = f.Close() // it was moved away while its lock was waited for
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
}

// lockFile waits for the lock of f.
func lockFile(ctx context.Context, f *os.File) error {
	const poll = 5 * time.Millisecond
	for {
		locked, err := filelock.Try(f)
		if locked || err != nil {
			return err
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return fmt.Errorf("wait for its lock: %w", ctx.Err())
		}
	}
}

// last is what the next event is linked to, and where it begins. A tail that was cut off is not written over: its
// numbers stay missing.
func (l *FileLog) last(f *os.File) (Head, int64, error) {
	line, end, err := lastLine(f)
	if err != nil {
		return Head{}, 0, err
	}
	var last Head
	if line != nil {
		if last, err = headOf(line); err != nil {
			return Head{}, 0, fmt.Errorf("its last line: %w: see 'statelatch audit verify %s'", err, l)
		}
	}
	head, err := l.readHead()
	switch {
	case err != nil:
		return Head{}, 0, err
	case head != nil && head.Seq > last.Seq:
		last = *head
	}
	return last, end, nil
}

// lastLine is the last whole line, without its end, and where it ends. It is nil if there is none.
func lastLine(f *os.File) (line []byte, end int64, err error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, 0, err
	}
	const window = 2*MaxEvent + 2 // a whole line, and as much of another
	start := max(size-window, 0)
	tail := make([]byte, size-start)
	if _, err := f.ReadAt(tail, start); err != nil {
		return nil, 0, err
	}
	stop := bytes.LastIndexByte(tail, '\n')
	if stop < 0 {
		if start > 0 {
			return nil, 0, fmt.Errorf("%w: its last line is longer than any event", statelatch.ErrInvalid)
		}
		return nil, 0, nil
	}
	return tail[bytes.LastIndexByte(tail[:stop], '\n')+1 : stop], start + int64(stop) + 1, nil
}

// writeHead replaces the head, all or nothing.
func (l *FileLog) writeHead(h Head) error {
	tmp, err := os.CreateTemp(filepath.Dir(l.path), filepath.Base(l.headPath())+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = tmp.Write(append(h.marshal(), '\n'))
	if err == nil {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), l.headPath())
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// readHead is the stored head, nil if there is none.
func (l *FileLog) readHead() (*Head, error) {
	raw, err := os.ReadFile(l.headPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	h, err := parseHead(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.headPath(), err)
	}
	return &h, nil
}

// Read returns everything that is stored. The rest of a line that a crash left half written is no event. The error
// matches [statelatch.ErrNotFound] if there is no such file.
func (l *FileLog) Read(context.Context) (Contents, error) {
	// The head first: every event that it covers is there by now.
	var c Contents
	c.Head, c.HeadErr = l.readHead()
	raw, err := os.ReadFile(l.path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.Head == nil && c.HeadErr == nil:
		return c, nothingThere(l)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return c, fmt.Errorf("audit log %s: %w", l, err)
	}
	for n := 1; ; n++ {
		line, rest, whole := bytes.Cut(raw, []byte{'\n'})
		if !whole {
			return c, nil
		}
		c.Records = append(c.Records, Record{Name: fmt.Sprintf("line %d", n), Raw: line})
		raw = rest
	}
}

// ReadSince is Read: the events are in one file.
func (l *FileLog) ReadSince(ctx context.Context, _ time.Time) (Contents, error) { return l.Read(ctx) }
