package site

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/identity"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

// DefaultLease is the lease of a lock under which a state is written: long enough for a store that stands still for
// half a minute, short enough to wait for at night.
const DefaultLease = 90 * time.Second

// Lock says what others see of a lock, and how it is got. The zero Lock is good: it waits for nobody.
type Lock struct {
	Operation string // what is done; empty: "do"
	Reason    string // why, for people; empty: what the environment says
	Who       string // the holder to show; empty: user@host, or the CI job's actor
	Info      string // a line for whoever is kept waiting; empty: Reason and the CI job's link
	Version   string // of the program
	// Lease is how long others must see no renewal before they may take over, whole seconds; 0: DefaultLease.
	Lease time.Duration
	// Wait is how long to wait for another holder; 0: not at all. Negative: until the context ends.
	Wait time.Duration
	// TakeOver allows to take over a lock whose lease ran out.
	TakeOver bool
	// FenceAlways writes the state anew also without a takeover: see [lock.Request.FenceAlways].
	FenceAlways bool
}

// unbounded is longer than anybody waits.
const unbounded = 100 * 365 * 24 * time.Hour

func (l Lock) request(c *course) lock.Request {
	id := identity.Detect(c.s.getenv).With(l.Who, l.Info, l.Reason)
	req := lock.Request{
		Operation: cmp.Or(l.Operation, "do"), Info: id.Info, Who: id.Who, Version: l.Version,
		Reason: id.Reason, Client: identity.Client(), Run: id.Run,
		TTL: cmp.Or(l.Lease, DefaultLease), Wait: l.Wait, TakeOver: l.TakeOver, FenceAlways: l.FenceAlways,
		OnWait: c.onWait, OnRenewal: c.onRenewal, OnTakeOver: c.onTakeOver,
	}
	if l.Wait < 0 {
		req.Wait = unbounded
	}
	return req
}

// Do calls do under the lock of ref, which is renewed meanwhile, and releases the lock whatever do returns. The context
// of do ends when the lock is lost; context.Cause tells why, and matches statelatch.ErrLockLost. What do still writes
// then to the state itself fails.
//
//	nil              do returned nil, and the lock was held until it was released
//	*LockedError     somebody else holds the lock, also when ctx ended while waiting; do was not called
//	ErrUnsafeStore   the store cannot lock; do was not called
//	ErrLockLost      the lock was lost while do worked, or was gone at its end: work may have overlapped with others'
//	other            what do returned; what taking or releasing the lock said, as for lock.Manager
func (s *Site) Do(ctx context.Context, ref statelatch.Ref, l Lock, do func(ctx context.Context) error) error {
	return s.under(ctx, ref, l, func(ctx context.Context, _ *lock.Tenure) error {
		return s.during(ctx, StepWork, ref, do)
	})
}

func (s *Site) under(
	ctx context.Context, ref statelatch.Ref, l Lock, do func(context.Context, *lock.Tenure) error,
) (err error) {
	tier, err := s.Prove(ctx)
	if err != nil {
		return err
	}
	m := *s.Manager
	m.Tier = tier
	acquiring, end := s.step(ctx, StepAcquire, ref, slog.String("operation", cmp.Or(l.Operation, "do")))
	c := &course{s: s, ctx: acquiring, ref: ref, log: s.log.With("ref", ref.String())}
	tenure, err := m.Acquire(acquiring, ref, l.request(c))
	over(&c.endWait, err)
	if end(err); err != nil {
		return err
	}
	defer func() {
		releasing, end := s.step(ctx, StepRelease, ref)
		weak, releaseErr := tenure.Release(releasing)
		over(&c.endRenew, tenure.Err())
		if end(releaseErr); releaseErr != nil {
			if told := errors.Is(err, statelatch.ErrLockLost) && errors.Is(releaseErr, statelatch.ErrLockLost); !told {
				err = errors.Join(err, releaseErr)
			}
		} else if weak {
			s.log.Warn("the store has no conditional delete: the release was weak", "ref", ref.String())
		}
	}()
	work, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-tenure.Lost():
			stop(tenure.Err())
		case <-ended:
		}
	}()
	defer func() { close(ended); <-watched }()
	return do(work, tenure)
}

// Update changes the state of ref under its lock: edit gets the state, or an empty one if there is none, and what it
// leaves is written with the next serial, as state.Update says. Errors are those of Do and of state.Update.
func (s *Site) Update(
	ctx context.Context, ref statelatch.Ref, l Lock, edit func(*state.Doc) error,
) (state.Version, error) {
	l.Operation = cmp.Or(l.Operation, "update")
	var written state.Version
	err := s.under(ctx, ref, l, func(ctx context.Context, t *lock.Tenure) error {
		return s.during(ctx, StepUpdate, ref, func(ctx context.Context) (err error) {
			held := t.Held()
			by := state.ProvenanceOf(held.Info, held.Managed)
			written, err = state.Update(ctx, s.Store, t, edit, state.WriteOptions{Provenance: by})
			return err
		})
	})
	return written, err
}
