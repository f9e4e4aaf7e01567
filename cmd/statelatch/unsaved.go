package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/filelock"
	"github.com/statelatch/statelatch/internal/userdir"
)

const (
	// unsavedFor is how long a state that no push could save is kept. Nobody asked for it that long.
	unsavedFor = 30 * 24 * time.Hour
	// partial ends the name of a copy of stdin that is not whole yet.
	partial = ".partial"
)

// unsaved are the copies of stdin that pushes of one state keep until it is stored. A push that is killed leaves its copy behind, and
// one with an unknown outcome keeps it. A copy that a push still uses is locked.
type unsaved struct {
	dir   string // empty: there is none, so nothing is found
	state string // what the names of its files begin with
}

func unsavedOf(ref statelatch.Ref, term terminal) unsaved {
	dir, err := userdir.State(term.getenv)
	if err != nil {
		return unsaved{}
	}
	sum := sha256.Sum256([]byte(ref.String()))
	return unsaved{dir: filepath.Join(dir, "unsaved"), state: "push-" + hex.EncodeToString(sum[:8]) + "-"}
}

// leftover is a copy that no push uses any more.
type leftover struct {
	Path   string    `json:"path"`
	Serial uint64    `json:"serial"`
	Size   int64     `json:"size"`
	Kept   time.Time `json:"kept"`

	lineage string
}

// left are the whole copies of one state. Of any state's copies those that nobody can use or that are too old are removed, if clean.
func (u unsaved) left(now time.Time, clean bool) []leftover {
	var all []leftover
	if u.dir == "" {
		return nil
	}
	paths, _ := filepath.Glob(filepath.Join(u.dir, "push-*"))
	for _, path := range paths {
		l, ok := inspect(path)
		whole := !strings.HasSuffix(path, partial) && l.lineage != ""
		switch {
		case !ok:
		case clean && (now.Sub(l.Kept) > unsavedFor || strings.HasSuffix(path, partial) && now.Sub(l.Kept) > time.Minute):
			_ = os.Remove(path)
		case whole && strings.HasPrefix(filepath.Base(path), u.state):
			all = append(all, l)
		}
	}
	return all
}

// inspect reads the header of a copy. It is not ok while a push uses it.
func inspect(path string) (leftover, bool) {
	f, err := os.Open(path)
	if err != nil {
		return leftover{}, false
	}
	defer f.Close()
	free, err := filelock.Try(f)
	info, statErr := f.Stat()
	if statErr != nil || err == nil && !free {
		return leftover{}, false
	}
	l := leftover{Path: path, Size: info.Size(), Kept: info.ModTime().UTC()}
	if h, err := statelatch.ReadStateHeader(f); err == nil {
		l.Serial, l.lineage = h.Serial, h.Lineage
	}
	return l, true
}

// tell says what is left, and what to do with it.
func (u unsaved) tell(term terminal, again naming) {
	for _, l := range u.left(time.Now(), false) {
		term.say("Note: a push of this state did not end. What it was to store (serial %d, %d bytes, of %s UTC) is in %s\n"+
			"Store it:  %s\nIf it is of no use: rm %[4]s\n\n", l.Serial, l.Size, timeOf(l.Kept), shellQuote(l.Path), again.command("push "+shellQuote(l.Path)))
	}
}

// settle removes what is left of a state, now that this is stored: copies of it, and of what was before. The copies of other states go
// when they are too old.
func (u unsaved) settle(stored statelatch.StateHeader, term terminal) {
	for _, l := range u.left(time.Now(), true) {
		if l.lineage == stored.Lineage && l.Serial <= stored.Serial && os.Remove(l.Path) == nil {
			term.say("Removed %s, which an earlier push had kept: serial %d is stored.\n", l.Path, stored.Serial)
		}
	}
}

// keptFile is where the input stays readable if its outcome is unknown.
type keptFile struct {
	path      string
	temporary bool // it is a copy of stdin
}

// drop removes the copy of an input that is not needed any more.
func (k keptFile) drop() error {
	if !k.temporary {
		return nil
	}
	return os.Remove(k.path)
}

// input opens FILE. Stdin is copied to a file of ours first: it can be read once only, and must not be lost.
func (o pushOptions) input(ctx context.Context, term terminal, u unsaved) (io.ReadSeekCloser, keptFile, error) {
	if o.file != "-" {
		path, err := filepath.Abs(o.file)
		if err != nil {
			return nil, keptFile{}, usageError{err}
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, keptFile{}, usageError{fmt.Errorf("FILE: %w", err)}
		}
		return f, keptFile{path: path}, nil
	}
	if u.dir == "" || os.MkdirAll(u.dir, 0o700) != nil {
		u.dir = os.TempDir()
	}
	f, err := os.CreateTemp(u.dir, cmp.Or(u.state, "push-")+"*.tfstate"+partial) // mode 0600
	if err != nil {
		return nil, keptFile{}, fmt.Errorf("keep stdin: %w", err)
	}
	kept := keptFile{path: f.Name(), temporary: true}
	_, _ = filelock.Try(f) // where there are no such locks a push sees what another one still uses
	if _, err := io.Copy(f, term.typed(ctx)); err != nil {
		return nil, kept, errors.Join(fmt.Errorf("read stdin: %w", err), f.Close(), kept.drop())
	}
	whole := strings.TrimSuffix(kept.path, partial)
	if err := errors.Join(f.Close(), os.Rename(kept.path, whole)); err != nil { // closed first: Windows renames no open file
		return nil, kept, errors.Join(fmt.Errorf("keep stdin: %w", err), kept.drop())
	}
	kept.path = whole
	if f, err = os.Open(whole); err != nil {
		return nil, kept, errors.Join(fmt.Errorf("keep stdin: %w", err), kept.drop())
	}
	_, _ = filelock.Try(f)
	return f, kept, nil
}
