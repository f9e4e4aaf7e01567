package session

import (
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/statelatch/statelatch/internal/private"
	"github.com/statelatch/statelatch/internal/treefile"
)

const (
	lookEvery = time.Second // that a file may have changed
	maxFile   = 64 << 10    // bytes of a file of keys
)

// watched is what is in a file of secrets, read again when the file changes.
type watched[T any] struct {
	file  string
	parse func([]byte) (T, error)
	log   *slog.Logger
	now   func() time.Time

	mu    sync.Mutex
	next  time.Time   // when to look again
	info  fs.FileInfo // of the file as it was read
	value T
	there bool   // the file is
	wrong string // what was logged last
}

// watch reads a file, which must be out of others' reach.
func watch[T any](file string, parse func([]byte) (T, error), o Options) (*watched[T], error) {
	w := &watched[T]{file: file, parse: parse, log: o.Logger, now: o.Now, there: true, next: o.Now().Add(lookEvery)}
	var err error
	if w.info, err = os.Stat(file); err != nil {
		return nil, err
	}
	if w.value, err = w.read(); err != nil {
		return nil, err
	}
	return w, nil
}

// get returns what was in the file when it could last be used, and whether it is there.
func (w *watched[T]) get() (T, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if now.Before(w.next) {
		return w.value, w.there
	}
	w.next = now.Add(lookEvery)
	info, err := os.Stat(w.file)
	w.there = !gone(err)
	if err == nil && (!os.SameFile(info, w.info) || !info.ModTime().Equal(w.info.ModTime()) ||
		info.Size() != w.info.Size() || info.Mode() != w.info.Mode()) {
		var value T
		if value, err = w.read(); err == nil {
			w.value, w.info = value, info
		}
	}
	w.tell(err)
	return w.value, w.there
}

// tell logs an error once.
func (w *watched[T]) tell(err error) {
	wrong := ""
	if err != nil {
		wrong = err.Error()
	}
	if wrong != "" && wrong != w.wrong {
		w.log.Error("a file of keys cannot be used; what it contained before goes on, unless it is the pair of a key whose "+
			"file is gone", slog.String("file", w.file), slog.String("err", wrong))
	}
	w.wrong = wrong
}

func (w *watched[T]) read() (T, error) {
	var none T
	if err := private.File(w.file); err != nil {
		return none, err
	}
	data, err := treefile.Read(w.file, maxFile)
	if err != nil {
		return none, err
	}
	value, err := w.parse(data)
	if err != nil {
		return none, fmt.Errorf("%s: %w", w.file, err)
	}
	return value, nil
}
