package shim

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/backendconf"
	"github.com/statelatch/statelatch/engine"
)

// ask is what is sent to the process above: the call as it is, or a ref alone. That process judges the call, with the
// environment that it comes from.
type ask struct {
	Token   string          `json:"token,omitempty"`
	Ref     *statelatch.Ref `json:"ref,omitempty"`
	Store   string          `json:"store,omitempty"` // of the ref
	PID     int             `json:"pid,omitempty"`   // of the engine to be
	Name    string          `json:"name,omitempty"`
	Args    []string        `json:"args,omitempty"`
	Dir     string          `json:"dir,omitempty"`
	Environ []string        `json:"environ,omitempty"`
}

// message is one line of what is sent back: talk, and at the end the answer.
type message struct {
	Say    string  `json:"say,omitempty"`
	Answer *Answer `json:"answer,omitempty"`
}

// telling is what of an environment tells which state is meant and how to reach it.
func telling(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		upper := strings.ToUpper(name)
		return !strings.HasPrefix(upper, "AWS_") && !strings.HasPrefix(upper, "TF_") && !strings.HasSuffix(upper, "_PROXY") &&
			name != "HOME" && upper != "USERPROFILE" // the shared files are there
	})
}

func (a ask) getenv(key string) string {
	for _, entry := range slices.Backward(a.Environ) {
		if name, value, ok := strings.Cut(entry, "="); ok && name == key {
			return value
		}
	}
	return ""
}

// decide finds out which state the call is about and whether its lock may be switched off.
func (a ask) decide(ctx context.Context, hold Holder, say func(string)) Answer {
	if a.Ref != nil {
		return hold(ctx, Request{State: engine.State{Ref: *a.Ref}, Store: a.Store, OnlyIfHeld: true}, say)
	}
	call := engine.Parse(a.Name, a.Args, a.getenv)
	r := Request{Call: call, Dir: filepath.Clean(call.Dir(a.Dir)), Environ: a.Environ, PID: a.PID}
	kind := call.Locking()
	switch kind {
	case engine.Unlocked:
		return Answer{}
	case engine.Reads:
		if call.LockOff() {
			return Answer{}
		}
	case engine.Moves, engine.Deletes, engine.Fixed:
		r.OnlyIfHeld = true
	case engine.Writes:
	}
	var err error
	r.State, err = call.State(a.Dir, a.getenv)
	switch {
	case backendconf.IsElsewhere(err), errors.Is(err, fs.ErrNotExist):
		return Answer{} // its state is not in S3; or there is no such plan or directory, which the engine will say
	case err != nil && kind == engine.Moves:
		return Answer{} // only part of the configuration is there, and nothing is locked for it anyway
	case err != nil:
		return Answer{Why: err.Error()}
	case !r.State.Backend.Initialized && kind != engine.Moves:
		return Answer{} // the engine will ask for init, and do nothing
	}
	answer := hold(ctx, r, say)
	switch {
	case !answer.Held || answer.ExitCode != 0:
	case kind == engine.Fixed:
		return Answer{Why: "it has no flag to switch it off, and will find " + r.State.Ref.String() +
			" locked by the run around it"}
	case kind == engine.Moves:
		answer.Held = call.MovesOnlyInto(r.State.Ref, a.Dir, a.getenv)
	}
	return answer
}
