package main

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
)

// claims remembers, for this user on this machine, which locks "statelatch lock" took,
// so that "unlock" needs no ID and a crash between the request and its answer leaves a trace. It
// holds no secret. One file a lock; two processes never write the same one.
//
// The zero claims remembers nothing.
type claims struct{ dir string }

// claim is one remembered lock.
type claim struct {
	Ref   string    `json:"ref"`
	ID    string    `json:"id"`
	Taken time.Time `json:"taken"`
}

// openClaims finds the directory.
func openClaims(getenv func(string) string) (claims, error) {
	dir, err := userdir.State(getenv)
	if err != nil {
		return claims{}, err
	}
	return claims{filepath.Join(dir, "locks")}, nil
}

func (c claims) file(ref statelatch.Ref, id string) string {
	sum := sha256.Sum256([]byte(ref.String() + "\x00" + id))
	return filepath.Join(c.dir, hex.EncodeToString(sum[:16])+".json")
}

// remember stores a claim before the lock is asked for.
func (c claims) remember(ref statelatch.Ref, id string, now time.Time) error {
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

// has reports whether this user took the lock with that ID.
func (c claims) has(ref statelatch.Ref, id string) bool {
	if c.dir == "" || id == "" {
		return false
	}
	_, err := os.Stat(c.file(ref, id))
	return err == nil
}

// forget drops a claim; it need not exist.
func (c claims) forget(ref statelatch.Ref, id string) error {
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

// forgetRefused drops the claim on a lock that was asked for in vain, unless it stands all the same, as where it could
// be taken and not be released, or may.
func (c claims) forgetRefused(ctx context.Context, t target, id string, why error) error {
	if errors.Is(why, statelatch.ErrAmbiguous) {
		return nil
	}
	if !errors.Is(why, statelatch.ErrBroken) { // then nothing was sent that could have been done
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), refusedBudget)
		defer cancel()
		held, err := t.Manager.Status(ctx, t.ref)
		if err == nil && (held.Info.ID == id || held.Item != nil && held.Item.Info.ID == id) {
			return nil
		}
	}
	return c.forget(t.ref, id)
}

// forgetAll drops every claim on ref, once its lock is known to be gone.
func (c claims) forgetAll(ref statelatch.Ref) error {
	files, err := filepath.Glob(filepath.Join(c.dir, "*.json"))
	if err != nil || c.dir == "" {
		return err
	}
	for _, file := range files {
		var known claim
		if body, err := os.ReadFile(file); err != nil || json.Unmarshal(body, &known) != nil || known.Ref != ref.String() {
			continue
		}
		if err := c.forget(ref, known.ID); err != nil {
			return err
		}
	}
	return nil
}

// refs are the states that this user has locked.
func (c claims) refs() (refs []string) {
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
