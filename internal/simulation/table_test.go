package simulation

import (
	"context"
	"errors"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

// table is the DynamoDB table as one process reaches it: every call is one request.
type table struct{ p *process }

var (
	_ lock.Table    = table{}
	_ state.Digests = table{}
)

func (t table) Name() string { return "locks" }

func (t table) Lock(ctx context.Context, ref statelatch.Ref, info statelatch.LockInfo) error {
	return t.write(ctx, "lock", ref.DynamoDBLockID(), func(old string) (string, bool) { return string(info.Marshal()), old == "" })
}

func (t table) Replace(ctx context.Context, ref statelatch.Ref, raw string, info statelatch.LockInfo) error {
	return t.write(ctx, "replace", ref.DynamoDBLockID(), func(old string) (string, bool) { return string(info.Marshal()), old == raw })
}

func (t table) Unlock(ctx context.Context, ref statelatch.Ref, raw string) error {
	return t.write(ctx, "unlock", ref.DynamoDBLockID(), func(old string) (string, bool) { return "", old == raw })
}

func (t table) Read(ctx context.Context, ref statelatch.Ref) (string, error) {
	return t.read(ctx, ref.DynamoDBLockID())
}

func (t table) Digest(ctx context.Context, ref statelatch.Ref) (string, error) {
	return t.read(ctx, ref.DynamoDBDigestID())
}

func (t table) SwapDigest(ctx context.Context, ref statelatch.Ref, old, next string) error {
	return t.write(ctx, "swap", ref.DynamoDBDigestID(), func(stored string) (string, bool) { return next, stored == old })
}

func (t table) read(ctx context.Context, id string) (string, error) {
	m := message{op: "get", key: "item " + id}
	return send(ctx, t.p, m, func() (string, error) {
		if value := t.p.w.items[id]; value != "" {
			return value, nil
		}
		return "", t.p.refused(m, statelatch.ErrNotFound, 0, nil)
	})
}

// hear notes which digest somebody was told to set by hand.
func (w *world) hear(err error) {
	if stale, ok := errors.AsType[*state.DigestError](err); ok {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told[stale.MD5] = true
	}
}

// judgeDigest: when all is over and the lock is taken, the digest is the state's. Only a digest that its writer was told to set may be
// missing, and is set here. Who died before it wrote the digest left its lock, and the state was touched by whoever took that over.
func (w *world) judgeDigest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	is, want := w.items[ref.DynamoDBDigestID()], hexMD5(w.body)
	switch {
	case !w.table || is == want || len(w.body) == 0 && is == "":
	case !w.told[want]:
		w.violate("digest: it is %s, the state's is %s, and nobody was told", is, want)
	default:
		w.count.stale++
		w.items[ref.DynamoDBDigestID()] = want
	}
}

// write replaces the value of an item, where "" is none, if change says so.
func (t table) write(ctx context.Context, op, id string, change func(old string) (string, bool)) error {
	m := message{op: op, key: "item " + id, write: true}
	_, err := send(ctx, t.p, m, func() (string, error) {
		old := t.p.w.items[id]
		value, ok := change(old)
		if !ok {
			return "", t.p.refused(m, statelatch.ErrPreconditionFailed, 400, nil)
		}
		t.p.w.items[id] = value
		if id == ref.DynamoDBLockID() {
			t.p.w.judgeItem(old, value)
		}
		return "", nil
	})
	return err
}
