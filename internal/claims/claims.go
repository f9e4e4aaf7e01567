// Package claims remembers which locks a user took on a machine.
package claims

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/internal/userdir"
	"github.com/statelatch/statelatch/lock"
)

// Claims remembers, for this user on this machine, which locks "statelatch lock" took, so that "unlock" needs no ID and
// a crash between the request and its answer leaves a trace. It holds no secret. One file a lock; two processes never
// write the same one.
//
// The zero Claims remembers nothing.
type Claims struct{ dir string }

// claim is one remembered lock.
type claim struct {
	Ref   string    `json:"ref"`
	ID    string    `json:"id"`
	Taken time.Time `json:"taken"`
}

// Open finds the directory.
func Open(getenv func(string) string) (Claims, error) {
	dir, err := userdir.State(getenv)
	if err != nil {
		return Claims{}, err
	}
	return Claims{filepath.Join(dir, "locks")}, nil
}

func (c Claims) file(ref statelatch.Ref, id string) string {
	sum := sha256.Sum256([]byte(ref.String() + "\x00" + id))
	return filepath.Join(c.dir, hex.EncodeToString(sum[:16])+".json")
}

// Remember stores a claim before the lock is asked for.
func (c Claims) Remember(ref statelatch.Ref, id string, now time.Time) error {
	if c.dir == "" {
		return nil
	}
	body, err := json.Marshal(claim{Ref: ref.String(), ID: id, Taken: now.UTC()})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("remember lock: %w", err)
	}
	if err := os.WriteFile(c.file(ref, id), append(body, '\n'), 0o600); err != nil {
		return fmt.Errorf("remember lock: %w", err)
	}
	return nil
}

// Has reports whether this user took the lock with that ID.
func (c Claims) Has(ref statelatch.Ref, id string) bool {
	if c.dir == "" || id == "" {
		return false
	}
	_, err := os.Stat(c.file(ref, id))
	return err == nil
}

// Forget drops a claim; it need not exist.
func (c Claims) Forget(ref statelatch.Ref, id string) error {
	if c.dir == "" {
		return nil
	}
	if err := os.Remove(c.file(ref, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget lock: %w", err)
	}
	return nil
}

// refusedBudget is how long it is looked whether a lock stands that was refused.
const refusedBudget = 3 * time.Second

// ForgetRefused drops the claim on a lock that was asked for in vain, unless it stands all the same, as where it could
// be taken and not be released, or may.
func (c Claims) ForgetRefused(ctx context.Context, m *lock.Manager, ref statelatch.Ref, id string, why error) error {
	if errors.Is(why, statelatch.ErrAmbiguous) {
		return nil
	}
	if !errors.Is(why, statelatch.ErrBroken) { // then nothing was sent that could have been done
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusedBudget)
		defer cancel()
		held, err := m.Status(ctx, ref)
		if err == nil && (held.Info.ID == id || held.Item != nil && held.Item.Info.ID == id) {
			return nil
		}
	}
	return c.Forget(ref, id)
}

// ForgetAll drops every claim on ref, once its lock is known to be gone.
func (c Claims) ForgetAll(ref statelatch.Ref) error {
	files, err := filepath.Glob(filepath.Join(c.dir, "*.json"))
	if err != nil || c.dir == "" {
		return err
	}
	for _, file := range files {
		var known claim
		if body, err := os.ReadFile(file); err != nil || json.Unmarshal(body, &known) != nil || known.Ref != ref.String() {
			continue
		}
		if err := c.Forget(ref, known.ID); err != nil {
			return err
		}
	}
	return nil
}

// Refs returns the states that this user has locked.
func (c Claims) Refs() (refs []string) {
	files, _ := filepath.Glob(filepath.Join(c.dir, "*.json"))
	for _, file := range files {
		var known claim
		if body, err := os.ReadFile(file); err == nil && json.Unmarshal(body, &known) == nil &&
			!slices.Contains(refs, known.Ref) {
			refs = append(refs, known.Ref)
		}
	}
	return refs
}
