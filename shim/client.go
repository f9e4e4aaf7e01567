package shim

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/statelatch/statelatch"
)

// Above is the process that put shims into a PATH.
type Above struct{ dir string }

// Find returns the nearest one above a process with that PATH.
func Find(path string) (Above, bool) {
	for _, dir := range filepath.SplitList(path) {
		if hasShims(dir) {
			return Above{filepath.Dir(dir)}, true
		}
	}
	return Above{}, false
}

// hasShims reports whether dir is one of a [Dir].
func hasShims(dir string) bool {
	if base := filepath.Base(dir); base != binDir && base != directDir {
		return false
	}
	_, err := os.Lstat(filepath.Join(filepath.Dir(dir), socketName)) //nolint:gosec // the user's own PATH names the directory
	return err == nil
}

// Holds reports whether that process holds the lock of a state in a store, named as s3bucket.Bucket.Store does. One
// that does not answer holds none.
func (a Above) Holds(ctx context.Context, ref statelatch.Ref, store string) bool {
	answer, err := a.send(ctx, ask{Ref: &ref, Store: store}, func(string) {})
	return err == nil && answer.Held
}

// errNoAnswer: the process above is gone, or ended while it was asked.
var errNoAnswer = errors.New("the statelatch run above it does not answer")

// send asks that process, and shows what it says.
func (a Above) send(ctx context.Context, question ask, say func(text string)) (Answer, error) {
	conn, token, err := dial(ctx, filepath.Join(a.dir, socketName))
	if err != nil {
		return Answer{}, errNoAnswer
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	question.Token = token
	if err := json.NewEncoder(conn).Encode(question); err != nil {
		return Answer{}, errNoAnswer
	}
	for in := json.NewDecoder(conn); ; {
		var m message
		if err := in.Decode(&m); err != nil {
			return Answer{}, errors.Join(errNoAnswer, ctx.Err())
		}
		if m.Answer != nil {
			return *m.Answer, nil
		}
		say(m.Say)
	}
}
