// Package lockevents tells of the locks in a store, as they come and go.
package lockevents

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/s3/s3model"
)

type store struct {
	s3model.Store
	now func() time.Time

	mu      sync.Mutex // guards what follows; never held while the store works
	out     io.Writer
	holders map[string]statelatch.LockInfo // by bucket/key of the lock object, as seen in writes
}

// Watch returns a store that writes one line to out per lock event that passes through it, with the time of day that
// now tells. The bytes and the answers are the inner store's. Lines of requests that race may come in either order.
func Watch(inner s3model.Store, out io.Writer, now func() time.Time) s3model.Store {
	return &store{Store: inner, out: out, now: now, holders: map[string]statelatch.LockInfo{}}
}

// isLockEvent reports whether writing key is worth a line. A probe's thousands of objects only end as locks do.
func isLockEvent(key string) bool {
	kind, _ := statelatch.ClassifyKey(key)
	return kind == statelatch.KeyLock
}

// Put reports a lock that was acquired, refused, renewed by its holder or taken over.
func (e *store) Put(ctx context.Context, req s3model.PutRequest, r io.Reader) (s3model.Object, error) {
	if !isLockEvent(req.Key) {
		return e.Store.Put(ctx, req, r)
	}
	body := &cappedBuffer{}
	obj, err := e.Store.Put(ctx, req, io.TeeReader(r, body))
	asked, parseErr := statelatch.ParseLockInfo(body.data)
	name := described(asked, parseErr)
	switch {
	case err == nil:
		before, known := e.remember(req.Bucket, req.Key, asked)
		switch {
		case req.If.IfAbsent:
			e.line("acquired", req.Bucket, req.Key, "by "+name)
		case known && before.ID == asked.ID:
			e.line("renewed", req.Bucket, req.Key, "by "+name)
		default:
			e.line("replaced", req.Bucket, req.Key, "by "+name)
		}
	case errors.Is(err, s3model.ErrPreconditionFailed):
		e.line("refused", req.Bucket, req.Key, fmt.Sprintf("to %s, held by %s", name, e.holder(ctx, req.Bucket, req.Key)))
	}
	return obj, err
}

// Delete reports a lock that was released. The wire does not tell a holder's release from a force-unlock.
func (e *store) Delete(ctx context.Context, req s3model.DeleteRequest) (s3model.DeleteResult, error) {
	if !isLockEvent(req.Key) || req.VersionID != "" {
		return e.Store.Delete(ctx, req)
	}
	_, headErr := e.Head(ctx, s3model.ReadRequest{Bucket: req.Bucket, Key: req.Key})
	held := ""
	if !errors.Is(headErr, s3model.ErrNoSuchKey) {
		held = e.holder(ctx, req.Bucket, req.Key)
	}
	res, err := e.Store.Delete(ctx, req)
	if err == nil && held != "" {
		e.line("released", req.Bucket, req.Key, "held by "+held)
		e.forget(req.Bucket, req.Key, held)
	}
	return res, err
}

// holder describes who holds a lock: as remembered, else as stored (a lock from before this process started).
func (e *store) holder(ctx context.Context, bucket, key string) string {
	e.mu.Lock()
	info, known := e.holders[bucket+"/"+key]
	e.mu.Unlock()
	if known {
		return described(info, nil)
	}
	_, body, err := e.Get(ctx, s3model.ReadRequest{Bucket: bucket, Key: key})
	if err != nil {
		return unknownHolder
	}
	defer body.Close()
	raw, err := io.ReadAll(io.LimitReader(body, statelatch.MaxLockInfo+1))
	if err != nil {
		return unknownHolder
	}
	return described(statelatch.ParseLockInfo(raw))
}

const unknownHolder = "an unknown holder"

func (e *store) remember(bucket, key string, info statelatch.LockInfo) (before statelatch.LockInfo, known bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	before, known = e.holders[bucket+"/"+key]
	e.holders[bucket+"/"+key] = info
	return before, known
}

// forget drops what is remembered, unless a newer holder is remembered by now.
func (e *store) forget(bucket, key, held string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if described(e.holders[bucket+"/"+key], nil) == held {
		delete(e.holders, bucket+"/"+key)
	}
}

func (e *store) line(what, bucket, lockKey, who string) {
	state := statelatch.Printable(fmt.Sprintf("s3://%s/%s", bucket, statelatch.StateKey(lockKey)))
	e.mu.Lock()
	defer e.mu.Unlock()
	fmt.Fprintf(e.out, "%s  %-8s  %s  %s\n", e.now().Format(time.TimeOnly), what, state, who)
}

// described names a holder on one line, safe for a terminal.
func described(l statelatch.LockInfo, err error) string {
	if err != nil {
		return unknownHolder
	}
	s := fmt.Sprintf("%s (%s, ID %s)", l.Who, l.Operation, l.ID)
	if l.Info != "" {
		s += ": " + l.Info
	}
	return statelatch.Printable(s)
}

// cappedBuffer keeps the start of what is written, enough for any lock object.
type cappedBuffer struct{ data []byte }

func (b *cappedBuffer) Write(p []byte) (int, error) {
	keep := min(len(p), statelatch.MaxLockInfo+1-len(b.data))
	b.data = append(b.data, p[:keep]...)
	return len(p), nil
}
