package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
)

// removeRecorded removes what was planned of one table, and records it.
func (o cleanOptions) removeRecorded(ctx context.Context, term terminal, p *cleanable, done *cleanPartJSON) error {
	if o.dryRun || p.planned()+len(p.items) == 0 {
		return o.remove(ctx, term, p, done)
	}
	if err := intend(ctx, audit.MigrateClean, p.scope); err != nil {
		return err
	}
	err := o.remove(ctx, term, p, done)
	e := audit.Event{
		Action: audit.MigrateClean, Outcome: audit.OK, Ref: p.scope.String(),
		Detail: fmt.Sprintf("removed %s and %s from the table %s", count(len(done.Digests), "digest"), count(len(done.Locks), "lock item"), p.Table.Name()),
	}
	if err != nil {
		e.Outcome = audit.Failed
		e.Detail += ": " + oneLine(err)
	}
	recorderOf(ctx).Record(e)
	return err
}

// remove does what was planned, each with the condition that it is what was shown.
func (o cleanOptions) remove(ctx context.Context, term terminal, p *cleanable, done *cleanPartJSON) error {
	line := &liveLine{term: term}
	defer line.clear()
	total, tried := p.planned()+len(p.items), 0
	one := func(key string, list *[]string, act func() error, read func() error) error {
		if !o.dryRun {
			gone, err := removeItem(ctx, act, read)
			if err != nil {
				line.clear()
				term.say("%d of %s removed. Nothing is half done; run it again to go on.\n", len(done.Digests)+len(done.Locks), count(total, "item"))
				return fmt.Errorf("remove the item of s3://%s/%s: %w", p.scope.Bucket, key, err)
			}
			if !gone {
				const why = "it changed meanwhile: a client uses the table"
				p.leave(key, why)
				line.clear()
				term.say("Left alone: s3://%s: %s\n", statelatch.Printable(p.scope.Bucket+"/"+key), why)
				return nil
			}
		}
		*list = append(*list, key)
		tried++
		line.part("Removing", tried, total)
		return nil
	}
	for _, l := range p.items {
		err := one(l.Ref.Key, &done.Locks,
			func() error { return p.Table.Unlock(ctx, l.Ref, l.Item.Raw) },
			func() error { _, err := p.Table.Read(ctx, l.Ref); return err })
		if err != nil {
			return err
		}
	}
	for _, f := range p.digests {
		if !f.planned {
			continue
		}
		err := one(f.Key, &done.Digests,
			func() error { return p.Table.SwapDigest(ctx, f.ref, f.Stored, "") },
			func() error { _, err := p.Table.Digest(ctx, f.ref); return err })
		if err != nil {
			return err
		}
	}
	return nil
}

// removeItem removes one item; false if it is another one now. What is gone is gone, whoever removed it.
func removeItem(ctx context.Context, act, read func() error) (gone bool, err error) {
	err = act()
	if err == nil {
		return true, nil
	}
	refused := errors.Is(err, statelatch.ErrPreconditionFailed)
	if ctx.Err() != nil || !refused && !errors.Is(err, statelatch.ErrAmbiguous) {
		return false, err
	}
	switch now := read(); {
	case errors.Is(now, statelatch.ErrNotFound):
		return true, nil
	case refused:
		return false, now
	}
	return false, err // whether it was lost or is late: the next run sees
}
