// Package unsaved keeps states that somebody gave to be stored until they are.
package unsaved

import (
	"cmp"
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
	// partial ends the name of a copy of stdin that is not whole yet, unlocked begins that of one that is not locked
	// yet.
	partial  = ".partial"
	unlocked = "new-"
)

// Copies are the copies of stdin that pushes of one state keep until it is stored. A push that is killed leaves its
// copy behind, and one with an unknown outcome keeps it. A copy that a push still uses is locked.
type Copies struct {
	dir   string // empty: there is none, so nothing is found
	state string // what the names of its files begin with
}

// Of returns the copies of one state.
func Of(ref statelatch.Ref, getenv func(string) string) Copies {
	dir, err := userdir.State(getenv)
	if err != nil {
		return Copies{}
	}
	sum := sha256.Sum256([]byte(ref.String()))
	return Copies{dir: filepath.Join(dir, "unsaved"), state: "push-" + hex.EncodeToString(sum[:8]) + "-"}
}

// Leftover is a copy that no push uses any more.
type Leftover struct {
	Path   string    `json:"path"`
	Serial uint64    `json:"serial"`
	Size   int64     `json:"size"`
	Kept   time.Time `json:"kept"`
	// Partial says that the push was stopped before it had read all.
	Partial bool `json:"partial,omitempty"`

	lineage string
}

// Left returns the copies of one state. If clean, those of any state are removed that nobody can use, or that
// are too old.
func (c Copies) Left(now time.Time, clean bool) []Leftover {
	var all []Leftover
	if c.dir == "" {
		return nil
	}
	paths, _ := filepath.Glob(filepath.Join(c.dir, "*.tfstate*"))
	for _, path := range paths {
		l, ok := inspect(path)
		age := now.Sub(l.Kept)
		switch {
		case !ok:
		case clean && (age > unsavedFor || l.Partial &&
			(age > time.Hour || !strings.HasPrefix(filepath.Base(path), unlocked))):
			_ = os.Remove(path)
		case strings.HasPrefix(filepath.Base(path), c.state):
			all = append(all, l)
		}
	}
	return all
}

// inspect reads the header of a copy. It is not ok while a push uses it.
func inspect(path string) (Leftover, bool) {
	f, err := os.Open(path)
	if err != nil {
		return Leftover{}, false
	}
	defer f.Close()
	free, err := filelock.Try(f)
	info, statErr := f.Stat()
	if statErr != nil || err == nil && !free {
		return Leftover{}, false
	}
	l := Leftover{Path: path, Size: info.Size(), Kept: info.ModTime().UTC(), Partial: strings.HasSuffix(path, partial)}
	if h, err := statelatch.ReadStateHeader(f); err == nil {
		l.Serial, l.lineage = h.Serial, h.Lineage
	}
	return l, true
}

// Settle removes what is left of a state, now that this is stored: copies of it, and of what was before. It returns
// those. The copies of other states go when they are too old.
func (c Copies) Settle(stored statelatch.StateHeader) (removed []Leftover) {
	for _, l := range c.Left(time.Now(), true) {
		if !l.Partial && l.lineage == stored.Lineage && l.Serial <= stored.Serial && os.Remove(l.Path) == nil {
			removed = append(removed, l)
		}
	}
	return removed
}

// File is where the input stays readable if its outcome is unknown.
type File struct {
	Path      string
	temporary bool // it is a copy of stdin
}

// Drop removes the copy of an input that is not needed any more.
func (k File) Drop() error {
	if !k.temporary {
		return nil
	}
	return os.Remove(k.Path)
}

// Keep copies stdin to a file of ours: it can be read once only, and must not be lost.
func (c Copies) Keep(stdin io.Reader) (io.ReadSeekCloser, File, error) {
	if c.dir == "" || os.MkdirAll(c.dir, 0o700) != nil {
		c.dir = os.TempDir()
	}
	f, err := os.CreateTemp(c.dir, unlocked+"*.tfstate"+partial) // mode 0600
	if err != nil {
		return nil, File{}, fmt.Errorf("keep stdin: %w", err)
	}
	kept := File{Path: f.Name(), temporary: true}
	_, _ = filelock.Try(f) // where there are no such locks a push sees what another one still uses
	named := filepath.Join(c.dir, cmp.Or(c.state, "push-")+strings.TrimPrefix(filepath.Base(kept.Path), unlocked))
	if os.Rename(kept.Path, named) == nil { // Windows renames no open file: there it gets its name when it is whole
		kept.Path = named
	}
	if _, err := io.Copy(f, stdin); err != nil {
		return nil, kept, errors.Join(fmt.Errorf("read stdin: %w", err), f.Close(), kept.Drop())
	}
	whole := strings.TrimSuffix(named, partial)
	if err := errors.Join(f.Close(), os.Rename(kept.Path, whole)); err != nil {
		return nil, kept, errors.Join(fmt.Errorf("keep stdin: %w", err), kept.Drop())
	}
	kept.Path = whole
	if f, err = os.Open(whole); err != nil {
		return nil, kept, errors.Join(fmt.Errorf("keep stdin: %w", err), kept.Drop())
	}
	_, _ = filelock.Try(f)
	return f, kept, nil
}
