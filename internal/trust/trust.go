// Package trust remembers what a person has allowed the files of a directory to decide.
package trust

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/userdir"
)

// maxRead is how much of a file belongs to a question.
const maxRead = 1 << 20

// Question is whether a directory may do what it says. It is another one as soon as any of that changes.
type Question struct {
	Dir  string   // absolute
	Says []string // what it does, a line each

	name string
	file string // where the answer is kept; empty: nowhere
}

// answered are the questions of this process that need no asking any more, by name.
var answered sync.Map

// Of is the question about a directory. The content of files belongs to it.
func Of(getenv func(string) string, dir string, says, files []string) (Question, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return Question{}, fmt.Errorf("%w directory: %w", statelatch.ErrInvalid, err)
	}
	h := sha256.New()
	fmt.Fprintf(h, "%q %q", dir, says)
	for _, name := range files {
		if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
			continue // opening a pipe would wait for its other end
		}
		if f, err := os.Open(name); err == nil {
			_, _ = io.Copy(h, io.LimitReader(f, maxRead))
			_ = f.Close()
		}
	}
	q := Question{Dir: dir, Says: says, name: hex.EncodeToString(h.Sum(nil)[:16])}
	if at, err := userdir.State(getenv); err == nil {
		q.file = filepath.Join(at, "trusted", q.name+".json")
	}
	return q, nil
}

// Answered reports whether it was answered with yes, by this process or one before.
func (q Question) Answered() bool {
	if _, ok := answered.Load(q.name); ok {
		return true
	}
	_, err := os.Stat(q.file)
	return q.file != "" && err == nil
}

// Settle is for the life of this process.
func (q Question) Settle() { answered.Store(q.name, true) }

// Remember keeps the answer yes.
func (q Question) Remember() error {
	q.Settle()
	if q.file == "" {
		return errors.New("there is no directory for it: set STATELATCH_STATE_DIR")
	}
	text, err := json.Marshal(map[string]any{"directory": q.Dir, "trusted": q.Says})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(q.file), 0o700)
	}
	if err == nil {
		err = os.WriteFile(q.file, append(text, '\n'), 0o600)
	}
	return err
}
