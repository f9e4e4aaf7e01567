package main

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

// unsaved are the copies of stdin that pushes of one state keep until it is stored. A push that is killed leaves its
// copy behind, and one with an unknown outcome keeps it. A copy that a push still uses is locked.
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
	// Partial says that the push was stopped before it had read all.
	Partial bool `json:"partial,omitempty"`

	lineage string
}

// left are the copies of one state. If clean, those of any state are removed that nobody can use, or that are too old.
func (u unsaved) left(now time.Time, clean bool) []leftover {
	var all []leftover
	if u.dir == "" {
		return nil
	}
	paths, _ := filepath.Glob(filepath.Join(u.dir, "*.tfstate*"))
	for _, path := range paths {
		l, ok := inspect(path)
		age := now.Sub(l.Kept)
		switch {
		case !ok:
		case clean && (age > unsavedFor || l.Partial &&
			(age > time.Hour || !strings.HasPrefix(filepath.Base(path), unlocked))):
			_ = os.Remove(path)
		case strings.HasPrefix(filepath.Base(path), u.state):
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
	l := leftover{Path: path, Size: info.Size(), Kept: info.ModTime().UTC(), Partial: strings.HasSuffix(path, partial)}
	if h, err := statelatch.ReadStateHeader(f); err == nil {
		l.Serial, l.lineage = h.Serial, h.Lineage
	}
	return l, true
}

// tell says what is left, and what to do with it. Of the file given that is being done.
func (u unsaved) tell(term terminal, again naming, given string) {
	for _, l := range u.left(time.Now(), false) {
		if l.Path == given {
			continue
		}
		if l.Partial {
			term.say("Note: a push of this state was stopped while it read its input. What it had read, %d bytes, not all, is "+
				"in\n%s until the next push.\n\n",
				l.Size, shellQuote(l.Path))
			continue
		}
		term.say("Note: a push of this state did not end. What it was to store (serial %d, %d bytes, of %s UTC) is in %s\n"+
			"Store it:  %s\nIf it is of no use: rm %[4]s\n\n", l.Serial, l.Size, timeOf(l.Kept), shellQuote(l.Path),
			again.command("push "+shellQuote(l.Path)))
	}
}

// settle removes what is left of a state, now that this is stored: copies of it, and of what was before. The copies of
// other states go when they are too old.
func (u unsaved) settle(stored statelatch.StateHeader, term terminal) {
	for _, l := range u.left(time.Now(), true) {
		if !l.Partial && l.lineage == stored.Lineage && l.Serial <= stored.Serial && os.Remove(l.Path) == nil {
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

// openInput opens FILE.
func openInput(file string) (io.ReadSeekCloser, keptFile, error) {
	path, err := filepath.Abs(file)
	if err != nil {
		return nil, keptFile{}, usageError{err}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, keptFile{}, usageError{fmt.Errorf("FILE: %w", err)}
	}
	return f, keptFile{path: path}, nil
}

// keep copies stdin to a file of ours: it can be read once only, and must not be lost.
func (u unsaved) keep(stdin io.Reader) (io.ReadSeekCloser, keptFile, error) {
	if u.dir == "" || os.MkdirAll(u.dir, 0o700) != nil {
		u.dir = os.TempDir()
	}
	f, err := os.CreateTemp(u.dir, unlocked+"*.tfstate"+partial) // mode 0600
	if err != nil {
		return nil, keptFile{}, fmt.Errorf("keep stdin: %w", err)
	}
	kept := keptFile{path: f.Name(), temporary: true}
	_, _ = filelock.Try(f) // where there are no such locks a push sees what another one still uses
	named := filepath.Join(u.dir, cmp.Or(u.state, "push-")+strings.TrimPrefix(filepath.Base(kept.path), unlocked))
	if os.Rename(kept.path, named) == nil { // Windows renames no open file: there it gets its name when it is whole
		kept.path = named
	}
	if _, err := io.Copy(f, stdin); err != nil {
		return nil, kept, errors.Join(fmt.Errorf("read stdin: %w", err), f.Close(), kept.drop())
	}
	whole := strings.TrimSuffix(named, partial)
	if err := errors.Join(f.Close(), os.Rename(kept.path, whole)); err != nil {
		return nil, kept, errors.Join(fmt.Errorf("keep stdin: %w", err), kept.drop())
	}
	kept.path = whole
	if f, err = os.Open(whole); err != nil {
		return nil, kept, errors.Join(fmt.Errorf("keep stdin: %w", err), kept.drop())
	}
	_, _ = filelock.Try(f)
	return f, kept, nil
}
