package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/lock"
)

// engine is terraform or tofu with use_lockfile, as it is: only the lock's creation has a condition.
func (w *world) engine(ctx context.Context, number int) {
	p := w.newProcess(fmt.Sprintf("e%d", number), uint64(100_000+number), 0)
	p.plain = true
	for range w.rounds {
		p.sleep(p.between(20*time.Millisecond, 4*time.Second))
		p.apply(ctx)
	}
}

func (p *process) apply(ctx context.Context) {
	b := wire{p}
	info := statelatch.LockInfo{ID: p.newID(), Operation: "OperationTypeApply", Who: p.name, Created: time.Now(), Path: ref.Path()}
	deadline := time.Now().Add(2 * time.Minute) // -lock-timeout
	for delay := time.Second; ; delay = min(2*delay, 16*time.Second) {
		_, err := b.Put(ctx, ref.LockKey(), bytes.NewReader(info.Marshal()), bucket.PutOptions{If: bucket.IfAbsent})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			p.w.tally(func(n *counts) { n.locked++ })
			return
		}
		p.sleep(delay)
	}
	h := p.w.enter(info.ID)
	call := time.Now()
	_, body, err := bucket.ReadAll(ctx, b, ref.Key, 1<<20)
	if err != nil && !errors.Is(err, statelatch.ErrNotFound) {
		panic(fmt.Sprintf("simulation: nothing happens to the messages of an engine: %v", err))
	}
	r, _ := parseRegister(body)
	p.w.observe(r.content(), call)
	p.sleep(p.between(200*time.Millisecond, 5*time.Second))
	id := info.ID + ":1"
	u := p.w.begin(h, id, r.content())
	_, err = b.Put(ctx, ref.Key, bytes.NewReader(r.with(id, "lineage of "+id)), bucket.PutOptions{})
	p.w.end(u, judged(err), err)
	p.w.exit(h, "releases")
	p.unlock(ctx, info.ID)
}

// unlock is an engine's release and its force-unlock: it looks at the lock, then removes what is there.
func (p *process) unlock(ctx context.Context, id string) {
	b := wire{p}
	_, body, err := bucket.ReadAll(ctx, b, ref.LockKey(), statelatch.MaxLockInfo)
	info, _ := statelatch.ParseLockInfo(body)
	if err == nil && info.ID == id {
		_, _ = b.Delete(ctx, ref.LockKey(), bucket.DeleteOptions{})
	}
}

// operator is a person who removes the lock from time to time, with the engines' force-unlock or with ours.
func (w *world) operator(ctx context.Context, done <-chan struct{}) {
	engine := w.newProcess("person", 200_000, 0)
	engine.plain = true
	ours := w.newClient("admin", 200_001, w.loss)
	for {
		select {
		case <-done:
			return
		case <-time.After(engine.between(5*time.Second, 90*time.Second)):
		}
		_, body, err := bucket.ReadAll(ctx, wire{engine}, ref.LockKey(), statelatch.MaxLockInfo)
		if err != nil {
			continue
		}
		info, _ := statelatch.ParseLockInfo(body)
		time.Sleep(engine.between(0, 3*time.Second))
		w.noteLocked(engine, "FORCE-UNLOCK %s", info.ID)
		if engine.chance(0.5) {
			engine.unlock(ctx, info.ID)
			continue
		}
		_, _, err = ours.locks.ForceUnlock(ctx, ref, info.ID, lock.Request{Who: ours.name})
		w.noteLocked(ours.process, "FORCE-UNLOCK %s: %v", info.ID, err)
	}
}
