package audit

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

// What follows are acts on locks and states that record themselves, with the recorder of their context. An event says
// that something was done or, with the outcome [Unknown], may have been. What was not done leaves no event, unless an
// intent was recorded before: then [Recorder.Close] tells that nothing followed.

type recorderKey struct{}

// With returns ctx for a program whose acts r records.
func With(ctx context.Context, r *Recorder) context.Context {
	return context.WithValue(ctx, recorderKey{}, r)
}

// Of returns the recorder of ctx; nil, which records nothing, without one.
func Of(ctx context.Context) *Recorder {
	r, _ := ctx.Value(recorderKey{}).(*Recorder)
	return r
}

// Intend is [Recorder.Intend] of an act on ref, or on a part of a bucket.
func Intend(ctx context.Context, action Action, ref fmt.Stringer) error {
	return Of(ctx).Intend(ctx, Event{Action: action, Ref: ref.String()})
}

// outcomeOf is what err says of an act. It is empty if nothing was done. That only a digest is stale does not undo the
// act.
func outcomeOf(err error) Outcome {
	switch {
	case err == nil, errors.Is(err, state.ErrDigestStale):
		return OK
	case errors.Is(err, statelatch.ErrAmbiguous):
		return Unknown
	}
	return ""
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// because adds to what was done why it ended.
func because(done string, err error) string {
	if err == nil {
		return done
	}
	return done + ": " + oneLine(err)
}

// outcome records e with the outcome that err makes, if there is one.
func (r *Recorder) outcome(e Event, err error) {
	if e.Outcome = outcomeOf(err); e.Outcome == "" {
		return
	}
	if err != nil {
		e.Detail = oneLine(err)
	}
	r.Record(e)
}

// Ended records an act on more than one state: what of it was done, and why not all was.
func Ended(ctx context.Context, action Action, ref fmt.Stringer, done string, err error) {
	e := Event{Action: action, Outcome: OK, Ref: ref.String(), Detail: because(done, err)}
	if err != nil {
		e.Outcome = Failed
	}
	Of(ctx).Record(e)
}

// AcquireAll is lock.AcquireAll. Of a program whose action is [Run] its start is recorded, of one whose action is
// [Lock] that; of others, which take a lock for what they do, only takeovers are.
func AcquireAll(ctx context.Context, targets []lock.Target, req lock.Request) (lock.Set, error) {
	r := Of(ctx)
	if r == nil {
		return lock.AcquireAll(ctx, targets, req)
	}
	event := func(action Action, ref statelatch.Ref, id string) Event {
		return Event{Action: action, Outcome: OK, Ref: ref.String(), Operation: req.Operation, LockID: id}
	}
	for _, t := range targets {
		if err := r.Intend(ctx, event(r.action, t.Ref, t.ID)); err != nil {
			return nil, err
		}
	}
	req.OnTakeOver = func(was lock.Held, by string) {
		e := event(TakeOver, was.Ref, by)
		e.PrevLockID, e.Holder, e.ETagBefore = was.Info.ID, was.Info.Who, was.ETag
		r.Record(e)
	}
	set, err := lock.AcquireAll(ctx, targets, req)
	if errors.Is(err, statelatch.ErrAmbiguous) {
		for _, t := range targets {
			r.outcome(event(Lock, t.Ref, t.ID), err)
		}
	}
	for _, t := range set {
		e := event(r.action, t.Ref(), t.Held().Info.ID)
		e.ETagAfter = t.Held().ETag
		switch r.action {
		case Run:
			e.Outcome = Started
			r.Record(e)
		case Lock:
			r.Record(e)
		}
	}
	return set, err
}

// Release releases a lock by release, which returns what was there and what lock.Manager.Release does. Action is
// [Unlock] or [ForceUnlock].
func Release(
	ctx context.Context, action Action, ref statelatch.Ref, release func() (was lock.Held, weak bool, err error),
) (was lock.Held, weak bool, err error) {
	if err := Intend(ctx, action, ref); err != nil {
		return lock.Held{}, false, err
	}
	was, weak, err = release()
	e := Event{
		Action: action, Ref: ref.String(), Operation: was.Info.Operation, Holder: was.Info.Who, ETagBefore: was.ETag,
	}
	if action == ForceUnlock {
		e.PrevLockID = was.Info.ID
	} else {
		e.LockID = was.Info.ID
	}
	if weak {
		e.Detail = "weak release"
	}
	Of(ctx).outcome(e, err)
	return was, weak, err
}

// wrote is about a state that was base and is now, under a tenure or, where that is nil, without.
func (r *Recorder) wrote(tenure *lock.Tenure, base, now state.Version) Event {
	e := Event{
		Action: r.act(), Ref: base.Ref.String(), ETagBefore: base.ETag,
		Lineage:      cmp.Or(now.Header.Lineage, base.Header.Lineage),
		SerialBefore: base.Serial(), SerialAfter: now.Serial(),
	}
	if now.Exists {
		e.ETagAfter, e.VersionID = now.ETag, now.VersionID
	}
	if tenure != nil {
		e.LockID, e.Operation = tenure.Held().Info.ID, tenure.Held().Info.Operation
	}
	return e
}

// Write writes a state as session does, in the name of the tenure unless opts say whose. Under [Run] that is a state
// which an engine could not save.
func Write(
	ctx context.Context, tenure *lock.Tenure, session *state.Session, body io.ReadSeeker, opts state.WriteOptions,
) (state.Version, error) {
	base, held := session.Base(), tenure.Held()
	opts.Provenance = cmp.Or(opts.Provenance, state.ProvenanceOf(held.Info, held.Managed))
	written, err := session.Write(ctx, body, opts)
	e := Of(ctx).wrote(tenure, base, written)
	if e.Action == Run {
		e.Action = Rescue
	}
	Of(ctx).outcome(e, err)
	return written, err
}

// New creates the state of a workspace.
func New(
	ctx context.Context, store *state.Store, ref statelatch.Ref, by state.Provenance,
) (state.Version, error) {
	if err := Intend(ctx, WorkspaceNew, ref); err != nil {
		return state.Version{}, err
	}
	v, err := store.New(ctx, ref, by)
	e := Of(ctx).wrote(nil, state.Version{Ref: ref}, v)
	e.Action = WorkspaceNew
	Of(ctx).outcome(e, err)
	return v, err
}

// Delete deletes the state of a workspace.
func Delete(
	ctx context.Context, tenure *lock.Tenure, all state.Workspaces, session *state.Session, force bool,
) error {
	e := Of(ctx).wrote(tenure, session.Base(), state.Version{})
	e.Action = WorkspaceDelete
	err := all.Delete(ctx, session, force)
	Of(ctx).outcome(e, err)
	return err
}

// FixDigest is that of store.
func FixDigest(
	ctx context.Context, store *state.Store, tenure *lock.Tenure, shown state.DigestReading,
) (changed bool, err error) {
	changed, err = store.FixDigest(ctx, tenure, shown)
	if !changed {
		return changed, err
	}
	e := Of(ctx).wrote(tenure, shown.Now, shown.Now)
	e.Action, e.Outcome, e.VersionID = DigestFix, OK, "" // none was written
	e.Detail = because(fmt.Sprintf("MD5 %s, was %s", cmp.Or(shown.Want(), "removed"), shown.Stored), err)
	if err != nil { // it could not be brought in step, or nobody knows whether it was
		e.Outcome = Unknown
	}
	Of(ctx).Record(e)
	return changed, err
}

// Rescued records that a copy of a state which could not be saved is kept in the bucket.
func Rescued(ctx context.Context, tenure *lock.Tenure, key string) {
	Of(ctx).Record(Event{
		Action: Rescue, Outcome: Kept, Ref: tenure.Ref().String(), LockID: tenure.Held().Info.ID, Detail: "kept at " + key,
	})
}

// Compared remembers what a run did to a state, for the event at its end.
func Compared(ctx context.Context, report state.Report) {
	if r := Of(ctx); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.states[report.Mark.Ref.String()] = report
	}
}

// Ran records how a run ended, once its locks are released.
func Ran(ctx context.Context, set lock.Set, code int, runErr, releaseErr error) {
	r := Of(ctx)
	if r == nil {
		return
	}
	for _, t := range set {
		r.mu.Lock()
		report, known := r.states[t.Ref().String()]
		r.mu.Unlock()
		if !known {
			report.Mark.Ref = t.Ref()
		}
		e := r.wrote(t, report.Mark, report.Now)
		e.Action, e.Outcome = Run, Released
		switch {
		case t.Err() != nil, errors.Is(releaseErr, statelatch.ErrLockLost) && len(set) == 1:
			e.Outcome = Lost
		case errors.Is(releaseErr, statelatch.ErrAmbiguous):
			e.Outcome = Unknown
		case releaseErr != nil && !errors.Is(releaseErr, statelatch.ErrLockLost):
			e.Outcome = Kept
		}
		e.Detail = because(fmt.Sprintf("exit code %d", code), errors.Join(runErr, t.Err(), releaseErr))
		r.Record(e)
	}
}
