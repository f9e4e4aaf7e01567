package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/bootstrap"
	"github.com/statelatch/statelatch/gc"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

// What the commands record. An event says that something was done or, with the outcome "unknown", may have been. What
// was not done leaves no event, unless an intent was recorded before: then audit.Recorder.Close tells that nothing
// followed.

// intend is recorder.intend of an act on ref, or on a part of a bucket.
func intend(ctx context.Context, action audit.Action, ref fmt.Stringer) error {
	return recorderOf(ctx).intend(ctx, audit.Event{Action: action, Ref: ref.String()})
}

// outcomeOf is what err says of an act. It is empty if nothing was done. That only a digest is stale does not undo the
// act.
func outcomeOf(err error) audit.Outcome {
	switch {
	case err == nil, errors.Is(err, state.ErrDigestStale):
		return audit.OK
	case errors.Is(err, statelatch.ErrAmbiguous):
		return audit.Unknown
	}
	return ""
}

// recordOutcome records e with the outcome that err makes, if there is one.
func recordOutcome(ctx context.Context, e audit.Event, err error) {
	if e.Outcome = outcomeOf(err); e.Outcome == "" {
		return
	}
	if err != nil {
		e.Detail = oneLine(err)
	}
	recorderOf(ctx).Record(e)
}

// acquireRecorded is lock.AcquireAll. Of commands that take a lock for what they do only that is recorded, and
// takeovers.
func acquireRecorded(ctx context.Context, targets []lock.Target, req lock.Request) (lock.Set, error) {
	r := recorderOf(ctx)
	if r.Recorder == nil {
		return lock.AcquireAll(ctx, targets, req)
	}
	for _, t := range targets {
		if err := r.intend(ctx, audit.Event{
			Action: r.action, Ref: t.Ref.String(), Operation: req.Operation,
			LockID: t.ID,
		}); err != nil {
			return nil, err
		}
	}
	req.OnTakeOver = func(was lock.Held, by string) {
		r.Record(audit.Event{
			Action: audit.TakeOver, Outcome: audit.OK, Ref: was.Ref.String(), Operation: req.Operation,
			LockID: by, PrevLockID: was.Info.ID, Holder: was.Info.Who, ETagBefore: was.ETag,
		})
	}
	set, err := lock.AcquireAll(ctx, targets, req)
	if errors.Is(err, statelatch.ErrAmbiguous) {
		for _, t := range targets {
			recordOutcome(ctx, audit.Event{Action: audit.Lock, Ref: t.Ref.String(), Operation: req.Operation, LockID: t.ID}, err)
		}
	}
	for _, t := range set {
		h := t.Held()
		e := audit.Event{
			Action: r.action, Outcome: audit.OK, Ref: t.Ref().String(), Operation: req.Operation,
			LockID: h.Info.ID, ETagAfter: h.ETag,
		}
		switch r.action {
		case audit.Run:
			e.Outcome = audit.Started
			r.Record(e)
		case audit.Lock:
			r.Record(e)
		}
	}
	return set, err
}

// releaseRecorded releases a lock as unlock does.
func releaseRecorded(ctx context.Context, how unlockAction,
	release func(context.Context, lock.Held, lock.Request) (bool, error),
	held lock.Held, by lock.Request,
) (weak bool, err error) {
	action := audit.ForceUnlock
	if how == actRelease {
		action = audit.Unlock
	}
	if err := intend(ctx, action, held.Ref); err != nil {
		return false, err
	}
	weak, err = release(ctx, held, by)
	recordRelease(ctx, action, held.Ref, held, weak, err)
	return weak, err
}

// recordRelease records that a lock was released or removed.
func recordRelease(ctx context.Context, action audit.Action, ref statelatch.Ref, held lock.Held, weak bool, err error) {
	e := audit.Event{
		Action: action, Ref: ref.String(), Operation: held.Info.Operation, Holder: held.Info.Who,
		ETagBefore: held.ETag,
	}
	if action == audit.ForceUnlock {
		e.PrevLockID = held.Info.ID
	} else {
		e.LockID = held.Info.ID
	}
	if weak {
		e.Detail = "weak release"
	}
	recordOutcome(ctx, e, err)
}

// stateEvent is about a state that was base and is now.
func stateEvent(ctx context.Context, base, now state.Version) audit.Event {
	e := audit.Event{
		Ref: base.Ref.String(), ETagBefore: base.ETag,
		Lineage: cmp.Or(now.Header.Lineage, base.Header.Lineage),
	}
	e.Action = recorderOf(ctx).action
	e.SerialBefore, e.SerialAfter = serialOf(base), serialOf(now)
	if now.Exists {
		e.ETagAfter, e.VersionID = now.ETag, now.VersionID
	}
	return e
}

// writeRecorded writes a state as session does. Under run that is a state which an engine could not save.
func writeRecorded(
	ctx context.Context, tenure *lock.Tenure, session *state.Session, body io.ReadSeeker, opts state.WriteOptions,
) (state.Version, error) {
	base := session.Base()
	written, err := session.Write(ctx, body, opts)
	e := stateEvent(ctx, base, written)
	e.LockID, e.Operation = tenure.Held().Info.ID, tenure.Held().Info.Operation
	if e.Action == audit.Run {
		e.Action = audit.Rescue
	}
	recordOutcome(ctx, e, err)
	return written, err
}

// recordRescue records that a copy of a state which could not be saved is kept in the bucket.
func recordRescue(ctx context.Context, tenure *lock.Tenure, key string) {
	recorderOf(ctx).Record(audit.Event{
		Action: audit.Rescue, Outcome: audit.Kept, Ref: tenure.Ref().String(), LockID: tenure.Held().Info.ID,
		Detail: "kept at " + key,
	})
}

// recordDigest records that a digest was changed, or may have been.
func recordDigest(ctx context.Context, tenure *lock.Tenure, shown state.DigestReading, changed bool, err error) {
	if !changed {
		return
	}
	e := stateEvent(ctx, shown.Now, shown.Now)
	e.VersionID = "" // none was written
	e.LockID, e.Operation, e.Outcome = tenure.Held().Info.ID, tenure.Held().Info.Operation, audit.OK
	e.Detail = fmt.Sprintf("MD5 %s, was %s", cmp.Or(shown.Want(), "removed"), shown.Stored)
	if err != nil { // it could not be brought in step, or nobody knows whether it was
		e.Outcome = audit.Unknown
		e.Detail += ": " + oneLine(err)
	}
	recorderOf(ctx).Record(e)
}

// newRecorded creates the state of a workspace.
func newRecorded(ctx context.Context, t target) (state.Version, error) {
	if err := intend(ctx, audit.WorkspaceNew, t.ref); err != nil {
		return state.Version{}, err
	}
	v, err := t.Store.New(ctx, t.ref)
	recordOutcome(ctx, stateEvent(ctx, state.Version{Ref: t.ref}, v), err)
	return v, err
}

// deleteRecorded deletes the state of a workspace.
func deleteRecorded(
	ctx context.Context, tenure *lock.Tenure, all state.Workspaces, session *state.Session, force bool,
) error {
	e := stateEvent(ctx, session.Base(), state.Version{})
	e.LockID, e.Operation = tenure.Held().Info.ID, tenure.Held().Info.Operation
	err := all.Delete(ctx, session, force)
	recordOutcome(ctx, e, err)
	return err
}

// noteStates remembers what a run did to a state, for the event at its end.
func noteStates(ctx context.Context, report state.Report) {
	if r := recorderOf(ctx); r.Recorder != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.states[report.Mark.Ref.String()] = report
	}
}

// recordRunEnd records how a run ended, once its locks are released.
func recordRunEnd(ctx context.Context, set lock.Set, code int, runErr, releaseErr error) {
	r := recorderOf(ctx)
	if r.Recorder == nil {
		return
	}
	for _, t := range set {
		e := audit.Event{Ref: t.Ref().String()}
		r.mu.Lock()
		if report, known := r.states[e.Ref]; known {
			e = stateEvent(ctx, report.Mark, report.Now)
		}
		r.mu.Unlock()
		e.Action, e.Outcome, e.LockID, e.Operation = audit.Run, audit.Released, t.Held().Info.ID, t.Held().Info.Operation
		err := errors.Join(runErr, t.Err(), releaseErr)
		switch {
		case t.Err() != nil, errors.Is(releaseErr, statelatch.ErrLockLost) && len(set) == 1:
			e.Outcome = audit.Lost
		case errors.Is(releaseErr, statelatch.ErrAmbiguous):
			e.Outcome = audit.Unknown
		case releaseErr != nil && !errors.Is(releaseErr, statelatch.ErrLockLost):
			e.Outcome = audit.Kept
		}
		e.Detail = fmt.Sprintf("exit code %d", code)
		if err != nil {
			e.Detail += ": " + oneLine(err)
		}
		r.Record(e)
	}
}

// intendBucketInit is intend, unless there is nothing to do.
func intendBucketInit(ctx context.Context, scope statelatch.Scope, plan bootstrap.Plan) error {
	if len(plan.Steps) == 0 {
		return nil
	}
	return intend(ctx, audit.BucketInit, scope)
}

// recordBucketInit records what was changed about a bucket, if anything was.
func recordBucketInit(ctx context.Context, scope statelatch.Scope, result bucketInitJSON, err error) {
	e := audit.Event{Action: audit.BucketInit, Outcome: audit.OK, Ref: scope.String()}
	var changed []string
	for _, s := range result.Changed {
		changed = append(changed, s.ID)
	}
	e.Detail = "changed: " + strings.Join(changed, ", ")
	if err != nil {
		e.Outcome = audit.Failed
		e.Detail += ": " + oneLine(err)
	}
	if len(changed) > 0 || errors.Is(err, statelatch.ErrAmbiguous) {
		recorderOf(ctx).Record(e)
	}
}

// recordGC records what was removed.
func recordGC(ctx context.Context, scope statelatch.Scope, what string, r gc.Result, err error) {
	e := audit.Event{
		Action: audit.GC, Outcome: audit.OK, Ref: scope.String(),
		Detail: fmt.Sprintf("removed %s and %s, %s", count(r.Removed.Versions, what),
			count(r.Removed.Markers, "delete marker"), count(r.Removed.Bytes, "byte")),
	}
	if err != nil {
		e.Outcome = audit.Failed
		e.Detail += ": " + oneLine(err)
	}
	recorderOf(ctx).Record(e)
}
