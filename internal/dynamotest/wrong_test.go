package dynamotest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/statelatch/statelatch"
)

// wrong is a table with one method replaced.
type wrong struct {
	*Table
	lock   func(context.Context, statelatch.Ref, statelatch.LockInfo) error
	unlock func(context.Context, statelatch.Ref, string) error
	read   func(context.Context, statelatch.Ref) (string, error)
	swap   func(ctx context.Context, ref statelatch.Ref, old, next string) error
}

func (w wrong) Lock(ctx context.Context, ref statelatch.Ref, info statelatch.LockInfo) error {
	if w.lock != nil {
		return w.lock(ctx, ref, info)
	}
	return w.Table.Lock(ctx, ref, info)
}

func (w wrong) Unlock(ctx context.Context, ref statelatch.Ref, raw string) error {
	if w.unlock != nil {
		return w.unlock(ctx, ref, raw)
	}
	return w.Table.Unlock(ctx, ref, raw)
}

func (w wrong) Read(ctx context.Context, ref statelatch.Ref) (string, error) {
	if w.read != nil {
		return w.read(ctx, ref)
	}
	return w.Table.Read(ctx, ref)
}

func (w wrong) SwapDigest(ctx context.Context, ref statelatch.Ref, old, next string) error {
	if w.swap != nil {
		return w.swap(ctx, ref, old, next)
	}
	return w.Table.SwapDigest(ctx, ref, old, next)
}

// force puts a lock whatever is there.
func force(table *Table, ref statelatch.Ref, info statelatch.LockInfo) {
	table.SetItem(StringItem(ref.DynamoDBLockID(), "Info", string(info.Marshal())))
}

// The suite finds what it is there to find.
func TestRun_FindsWrongTables(t *testing.T) {
	t.Parallel()
	table := NewTable("locks")
	var looked sync.WaitGroup
	looked.Add(clients)
	for name, tc := range map[string]struct {
		store Store
		check string
	}{
		"unconditional lock": {wrong{Table: table, lock: func(_ context.Context, ref statelatch.Ref, info statelatch.LockInfo) error {
			force(table, ref, info)
			return nil
		}}, "lock/taken"},
		"unconditional unlock": {wrong{Table: table, unlock: func(ctx context.Context, ref statelatch.Ref, _ string) error {
			raw, _ := table.Read(ctx, ref)
			return table.Unlock(ctx, ref, raw)
		}}, "unlock/changed"},
		"unlock of the absent succeeds": {wrong{Table: table, unlock: func(context.Context, statelatch.Ref, string) error { return nil }}, "unlock/absent"},
		"own encoding": {wrong{Table: table, lock: func(ctx context.Context, ref statelatch.Ref, info statelatch.LockInfo) error {
			info.Info = "lost"
			return table.Lock(ctx, ref, info)
		}}, "lock/bytes"},
		"absent without error": {wrong{Table: table, read: func(ctx context.Context, ref statelatch.Ref) (string, error) {
			raw, _ := table.Read(ctx, ref)
			return raw, nil
		}}, "read/absent"},
		"error of no kind": {wrong{Table: table, lock: func(ctx context.Context, ref statelatch.Ref, info statelatch.LockInfo) error {
			if table.Lock(ctx, ref, info) != nil {
				return errors.New("taken")
			}
			return nil
		}}, "lock/taken"},
		"unconditional digest": {wrong{Table: table, swap: func(_ context.Context, ref statelatch.Ref, _, next string) error {
			table.SetItem(StringItem(ref.DynamoDBDigestID(), "Digest", next))
			return nil
		}}, "digest/changed"},
		"digest in the lock's item": {wrong{Table: table, swap: func(ctx context.Context, ref statelatch.Ref, _, _ string) error {
			return table.Lock(ctx, ref, statelatch.LockInfo{})
		}}, "apart"},
		"sends although the context is done": {wrong{Table: table, swap: func(_ context.Context, ref statelatch.Ref, old, next string) error {
			return table.SwapDigest(context.Background(), ref, old, next)
		}}, "context"},
		// Looks first and acts then, with the one pause in between that a race needs.
		"check then act": {wrong{Table: table, lock: func(ctx context.Context, ref statelatch.Ref, info statelatch.LockInfo) error {
			_, err := table.Read(ctx, ref)
			looked.Done()
			looked.Wait()
			if err == nil {
				return &statelatch.StoreError{Kind: statelatch.ErrPreconditionFailed}
			}
			force(table, ref, info)
			return nil
		}}, "contention/lock"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range checks {
				if c.name == tc.check {
					if c.do(t.Context(), newProbe(tc.store)) == nil {
						t.Errorf("%s passed", c.name)
					}
					return
				}
			}
			t.Fatalf("there is no check %q", tc.check)
		})
	}
}
