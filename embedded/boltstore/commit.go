package boltstore

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/statelatch/statelatch/s3/s3model"
)

// maxBatch bounds the updates of one transaction, and with it the bodies (64 KiB each)
// that are held by it.
const maxBatch = 256

// The states of an update. Whoever moves it out of waiting decides whether it runs.
const (
	waiting int32 = iota
	started
	cancelled
)

// update is one request's change. run decides the conditions first and returns a
// *s3model.Error before it writes anything; it may run more than once, each time
// in a fresh transaction, so it only sets results and never adds to them.
type update struct {
	run      func(*txn) error
	state    atomic.Int32
	done     chan error
	obsolete []string // body files that nothing names after the commit
}

// update runs change in a transaction, shared with other updates that wait at the
// same time, and returns when its outcome is on the disk. If ctx ends before the
// transaction began, nothing is changed; after that the outcome is waited for, so
// that an error never stands for something that happened.
func (s *Store) update(ctx context.Context, change func(*txn) error) error {
	s.writes.Add(1)
	return s.submit(ctx, &update{run: change, done: make(chan error, 1)})
}

// updateBehind is update for work that nobody waits for, such as a sweep's.
func (s *Store) updateBehind(ctx context.Context, change func(*txn) error) error {
	return s.submit(ctx, &update{run: change, done: make(chan error, 1)})
}

func (s *Store) submit(ctx context.Context, u *update) error {
	if err := s.enqueue(ctx, u); err != nil {
		return err
	}
	var err error
	select {
	case err = <-u.done:
	case <-ctx.Done():
		if u.state.CompareAndSwap(waiting, cancelled) {
			return ctx.Err()
		}
		err = <-u.done
	}
	if err == nil {
		s.files.discard(u.obsolete)
	}
	return failure(err)
}

func (s *Store) enqueue(ctx context.Context, u *update) error {
	s.closeMu.RLock()
	defer s.closeMu.RUnlock()
	if s.closed {
		return failure(s3model.ErrInternal.With("", errClosed))
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case s.queue <- u:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// commitLoop is the only writer of the database. While a transaction is synced the next
// updates gather in the queue, and go together into the next one.
func (s *Store) commitLoop() {
	defer s.committed.Done()
	for first := range s.queue {
		batch := []*update{first}
	gather:
		for len(batch) < maxBatch {
			select {
			case u, open := <-s.queue:
				if !open {
					break gather
				}
				batch = append(batch, u)
			default:
				break gather
			}
		}
		s.runBatch(batch)
	}
}

func (s *Store) runBatch(batch []*update) {
	ready := batch[:0]
	for _, u := range batch {
		if u.state.CompareAndSwap(waiting, started) {
			ready = append(ready, u)
		}
	}
	if len(ready) == 0 {
		return
	}
	answers, err := s.commit(ready)
	for i, u := range ready {
		switch {
		case err == nil:
			u.done <- answers[i]
		case len(ready) == 1 || s.broken.Load() != nil:
			u.done <- err
		default:
			// One of them spoilt the transaction for all, or the disk is nearly full.
			// Nothing was changed; each tries for itself.
			alone, err := s.commit(ready[i : i+1])
			if err == nil {
				err = alone[0]
			}
			u.done <- err
		}
	}
}

var errNothingToCommit = errors.New("nothing to commit")

// commit runs the updates in one transaction. The answers are the refusals (or nil) of
// each; an error means that nothing was changed for any of them, unless the store is
// broken afterwards.
func (s *Store) commit(updates []*update) (answers []error, err error) {
	if reason := s.broken.Load(); reason != nil {
		return nil, *reason
	}
	answers = make([]error, len(updates))
	var changed []string
	defer func() { s.rows.forget(changed) }()
	var id int
	committing := false
	err = s.transact(func(tx *bbolt.Tx) error {
		id = tx.ID()
		wrote := false
		for i, u := range updates {
			t := &txn{Tx: tx, box: s.box, rows: &s.rows}
			refusal := u.run(t)
			changed = append(changed, t.changed...)
			var asS3 *s3model.Error
			if refusal != nil && (t.wrote || !errors.As(refusal, &asS3)) {
				return refusal
			}
			answers[i] = refusal
			u.obsolete = t.obsolete
			wrote = wrote || t.wrote
		}
		if !wrote {
			return errNothingToCommit
		}
		committing = true
		return nil
	})
	if errors.Is(err, errNothingToCommit) {
		return answers, nil
	}
	if err != nil && committing && s.visible(id) {
		err = fmt.Errorf("%w: %w", errUnknown, err)
		s.broken.Store(&err)
		s.log.Error("the disk failed during a commit; writes are refused from now on", "err", err)
	}
	return answers, err
}

// visible reports whether readers see a transaction whose commit failed: then its last
// page was written, but perhaps not to the disk. If even that cannot be told, yes.
func (s *Store) visible(id int) bool {
	last := id
	err := s.view(func(t *txn) error {
		last = t.ID()
		return nil
	})
	return err != nil || last >= id
}
