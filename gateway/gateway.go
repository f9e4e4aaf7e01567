// Package gateway stands between engines and a bucket of states: a principal, its session and the state that is meant
// go in; acquire, read, write, release and delete come out, over packages lock and state. What an engine does without
// a condition gets one here, so that engines which cannot be changed lose no update, remove nobody else's lock and do
// not jam on their own.
//
// What it guarantees, of a store of tier full and clients that have no other way to the bucket: a state is written only
// by the process that holds its lock, on the condition that it is still what that process built on; a lock is removed
// only by its holder, or by force with its holder fenced out; an answer that was lost on either side of the gateway
// changes none of that. What it does not: know that an engine is alive. Its locks have no lease, and are taken over by
// nobody.
//
// A gateway keeps nothing that is needed: every fact is in the bucket, so any number of them on one bucket are one.
// What it remembers of a process saves requests, and is never believed without a condition.
package gateway

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/gateway/access"
	"github.com/statelatch/statelatch/internal/pace"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

// settleTime is how long a write or a release goes on when its client has gone: what became of it must be known.
const settleTime = time.Minute

// Config says what a gateway serves. Locks and States are required; Locks.Fence must be States.Touch.
type Config struct {
	Locks  *lock.Manager // of the bucket
	States *state.Store  // of the same bucket
	Rules  access.Rules  // that every request is held against; none: nobody may do anything
	// Scope is the part of the bucket that is served, workspaces included; zero: the whole bucket.
	Scope statelatch.Scope
	// WorkspacePrefix is the engines' workspace_key_prefix; empty: "env:".
	WorkspacePrefix string
	// Name is the gateway's process, in the locks that it takes; empty: a random one. No two processes may share one.
	Name   string
	Audit  *audit.Recorder // of what changes; nil: nothing is recorded
	Logger *slog.Logger    // nil: nothing is told
}

// Gateway serves one bucket. It is safe for concurrent use.
type Gateway struct {
	cfg   Config
	procs processes
}

// New returns a gateway. It sends nothing. Errors match statelatch.ErrInvalid, or statelatch.ErrUnsafeStore for a
// store without atomic conditions.
func New(cfg Config) (*Gateway, error) {
	switch {
	case cfg.Locks == nil || cfg.States == nil || cfg.Locks.Bucket == nil:
		return nil, fmt.Errorf("%w gateway: Locks and States are required", statelatch.ErrInvalid)
	case cfg.Locks.Fence == nil:
		return nil, fmt.Errorf("%w gateway: Locks has no Fence", statelatch.ErrInvalid)
	case cfg.Locks.Tier != lock.TierFull && cfg.Locks.Tier != lock.TierCAS:
		return nil, fmt.Errorf("%w: a gateway rests on conditions, and its tier is %s", statelatch.ErrUnsafeStore,
			cfg.Locks.Tier)
	}
	cfg.Name = cmp.Or(cfg.Name, pace.HexNonce()[:16])
	cfg.WorkspacePrefix = cmp.Or(cfg.WorkspacePrefix, statelatch.DefaultWorkspaceKeyPrefix)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Gateway{cfg: cfg, procs: processes{known: map[procKey]*process{}}}, nil
}

// Caller is who asks, in one request.
type Caller struct {
	access.Session
	// Conn tells the connections of a server apart; 0: not known. It tells processes apart that share a static key.
	Conn uint64
	// Engine tells that the client is terraform or tofu, which read a state by a HEAD and ranges. Others read it by one
	// GET, and get what is there then.
	Engine bool
	// Attempt is which try of a request the client's SDK says this is; 0 and 1: the first.
	Attempt int
	// Call is the SDK's name for the call that the request is an attempt of; empty: not known.
	Call string
	// Signed is when the client signed the request, by its own clock; zero: not known.
	Signed time.Time
}

const (
	// clocks is by how much the clocks of gateways and of the store may differ.
	clocks = 5 * time.Second
	// drift is by how much an engine's clock may, from one request to the next: SDKs set it by what the answers say,
	// to the second.
	drift = 2 * time.Second
	// late is how long a request may be on its way before it is asked which tenure it is of.
	late = 3 * time.Second
)

// stale is nil unless the request may be of an earlier tenure of the same process than the lock: it was long on its
// way, and signed before the lock was asked for, or so little later that clocks do not tell. A client that waits for
// the answer signs it again, so that its next try is not.
func (c Caller) stale(h lock.Held) error {
	asked := h.Managed.Through.Asked
	if c.Signed.IsZero() || asked.IsZero() || time.Since(c.Signed) < late || c.Signed.After(asked.Add(drift)) {
		return nil
	}
	return c.cameLate(h.Ref)
}

func (c Caller) cameLate(ref statelatch.Ref) error {
	return fmt.Errorf("%w: the request was signed at %v and came late, so that it may be about an earlier lock of %s "+
		"than the one that is held: send it again", statelatch.ErrConflict, c.Signed.UTC(), ref)
}

// after reports whether the client sent the request after another one of the same kind, as far as is known: signatures
// tell seconds.
func (c Caller) after(other Caller) bool {
	if c.Signed.Equal(other.Signed) && c.Call != "" && other.Call != "" && c.Call != other.Call {
		return true // another call within the same second
	}
	return c.Signed.IsZero() || c.Signed.After(other.Signed) || c.Signed.Equal(other.Signed) && c.Attempt > other.Attempt
}

// again reports whether the client has sent the request before.
func (c Caller) again() bool { return c.Attempt > 1 }

// Bucket is the name of the bucket that is served.
func (g *Gateway) Bucket() string { return g.cfg.Locks.Bucket.Name() }

// DeniedError says that the rules do not allow what was asked. It matches statelatch.ErrDenied.
type DeniedError struct {
	Why string // in words for who asked
}

// Error says who may not do what, and why.
func (e *DeniedError) Error() string { return e.Why }

// Unwrap matches statelatch.ErrDenied.
func (e *DeniedError) Unwrap() error { return statelatch.ErrDenied }

// RefusedError says that something was not done, because it would have broken what a gateway promises. Nothing was
// changed. It matches statelatch.ErrPreconditionFailed, and its cause.
type RefusedError struct {
	Message string // what was refused, why, and what to do
	Err     error  // the cause; nil: none
}

// Error is the message, and the cause.
func (e *RefusedError) Error() string {
	if e.Err != nil {
		return e.Message + ": " + e.Err.Error()
	}
	return e.Message
}

// Unwrap is statelatch.ErrPreconditionFailed, and the cause.
func (e *RefusedError) Unwrap() []error {
	if e.Err == nil {
		return []error{statelatch.ErrPreconditionFailed}
	}
	return []error{statelatch.ErrPreconditionFailed, e.Err}
}

func refused(cause error, format string, args ...any) error {
	return &RefusedError{Message: statelatch.Printable(fmt.Sprintf(format, args...)), Err: cause}
}

// allow is nil if c has one of the rights on the state, else why it has not the first.
func (g *Gateway) allow(c Caller, key string, rights ...access.Right) error {
	if !g.covers(key) {
		return &DeniedError{Why: statelatch.Printable(fmt.Sprintf("%s: this gateway serves %s alone", key, g.cfg.Scope))}
	}
	why := ""
	for _, right := range rights {
		d := g.cfg.Rules.Decide(c.Principal, right, key)
		if d.Allowed {
			return nil
		}
		why = cmp.Or(why, d.Why)
	}
	return &DeniedError{Why: why}
}

func (g *Gateway) covers(key string) bool {
	return g.cfg.Scope.Prefix == "" || g.cfg.Scope.Covers(key, g.cfg.WorkspacePrefix)
}

// ref is the state at key.
func (g *Gateway) ref(key string) (statelatch.Ref, error) {
	ref := statelatch.Ref{Bucket: g.Bucket(), Key: key}
	return ref, ref.ValidateIn(g.Bucket())
}

// outlast is a context for what must be known to the end, also when the client has gone.
func outlast(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), settleTime)
}

// through is what locks that are taken for c say.
func (g *Gateway) through(c Caller) *statelatch.Through {
	return &statelatch.Through{
		Gateway: g.cfg.Name, Principal: c.Principal.Name, Session: c.ID, Asked: c.Signed, Taken: time.Now().UTC(),
	}
}

// owns reports whether a lock was taken for c's process, or, with a static key, for one of its principal.
func owns(c Caller, m *statelatch.Managed) bool {
	return m != nil && m.Through != nil && m.Through.Principal == c.Principal.Name && m.Through.Session == c.ID
}

// record is told of what was done.
func (g *Gateway) record(c Caller, e audit.Event) {
	e.Who, e.Run = c.Principal.Name, c.Run
	g.cfg.Audit.Record(e)
	g.cfg.Logger.Info(string(e.Action), "outcome", e.Outcome, "ref", e.Ref, "who", e.Who, "lock", e.LockID)
}

// intend refuses what could not be recorded, where that must be.
func (g *Gateway) intend(ctx context.Context, c Caller, action audit.Action, ref statelatch.Ref) error {
	return g.cfg.Audit.Intend(ctx, audit.Event{Action: action, Ref: ref.String(), Who: c.Principal.Name, Run: c.Run})
}
