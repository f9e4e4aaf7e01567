package simulation

import (
	"bytes"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/lock"
	"github.com/statelatch/statelatch/state"
)

// client is one process with the real protocols in it.
type client struct {
	*process
	locks *lock.Manager
	store *state.Store
}

func (w *world) newClient(name string, stream uint64, loss float64) *client {
	p := w.newProcess(name, stream, loss)
	c := &client{process: p, store: &state.Store{Bucket: wire{p}}}
	c.locks = &lock.Manager{Bucket: wire{p}, Tier: lock.TierFull, Fence: c.store.Touch, Boot: p.boot, NewID: p.newID}
	if w.weak && name != last {
		c.locks.Tier = lock.TierCAS
	}
	if w.table {
		c.locks.Table, c.store.Digests = table{p}, table{p}
	}
	return c
}

// newID makes the ID of a lock, known to the oracles.
func (p *process) newID() string {
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	p.ids++
	id := p.lastID()
	p.w.holdings[id] = &holding{id: id, by: p}
	return id
}

// lastID is the ID of the last lock that the process tried to get.
func (p *process) lastID() string { return fmt.Sprintf("%s/%d", p.name, p.ids) }

// client is one client from its start to its end, in as many processes as it takes.
func (w *world) client(ctx context.Context, number int) {
	for left, life := w.rounds, 1; left > 0; life++ {
		c := w.newClient(fmt.Sprintf("c%d.%d", number, life), uint64(1+number*1000+life), w.loss)
		time.Sleep(c.between(0, time.Second)) // nobody does anything at the same moment as somebody else
		for ; left > 0 && !c.dead(); left-- {
			if w.kills && c.chance(0.1) {
				c.kill(c.between(0, time.Minute))
			}
			if w.pauses && c.chance(0.05) {
				c.stop(c.between(0, 10*time.Second), c.between(10*time.Second, 90*time.Second))
			}
			if c.chance(c.loss) {
				c.cut(c.between(0, 20*time.Second), c.between(5*time.Second, time.Minute))
			}
			c.sleep(c.between(20*time.Millisecond, 4*time.Second))
			c.round(ctx)
		}
		time.Sleep(c.between(time.Second, 20*time.Second)) // until a new process takes its place
	}
}

// round is one tenure, or an attempt at one.
func (c *client) round(ctx context.Context) {
	t, err := c.locks.Acquire(ctx, ref, lock.Request{
		TTL: c.between(10, 21) * time.Second, Wait: c.between(5*time.Second, time.Minute), TakeOver: !c.w.weak,
		FenceAlways: c.w.forced, Operation: "simulation", Who: c.name,
	})
	c.sleep(0)
	if c.dead() {
		if t != nil {
			t.Abandon()
		}
		return
	}
	if err != nil {
		c.w.hear(err)
		c.notAcquired(err)
		return
	}
	h := c.w.enter(t.Held().Info.ID)
	c.w.tally(func(n *counts) {
		n.tenures++
		if t.Held().Managed.PrevID != "" {
			n.takeovers++
		}
	})
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-t.Lost():
			time.Sleep(time.Nanosecond) // whoever closed it comes first, so that runs repeat
			c.w.exit(h, "it is lost")
		case <-over:
		}
	}()
	if c.w.pauses && c.chance(0.3) {
		c.stop(c.between(0, 5*time.Second), c.between(10*time.Second, 90*time.Second))
	}
	if c.chance(0.5) {
		c.sleep(c.between(0, 5*time.Second))
	}
	c.work(ctx, t, h)
	if c.dead() {
		c.w.exit(h, "killed")
		t.Abandon()
		return
	}
	c.w.exit(h, "releases")
	_, err = t.Release(ctx)
	c.sleep(0)
	if !c.dead() {
		c.w.released(h, err)
	}
}

// notAcquired judges a refusal: nobody is kept out by a lock of its own (B1), or by nobody.
func (c *client) notAcquired(err error) {
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.note(c.process, "NOT ACQUIRED: %v", err)
	locked, ok := errors.AsType[*statelatch.LockedError](err)
	if !ok {
		c.w.count.failed++
		if c.w.undisturbed() {
			c.w.violate("acquire: %s failed without a cause: %v", c.name, err)
		}
		return
	}
	c.w.count.locked++
	if locked.Holder.ID == c.lastID() {
		c.w.violate("jam: %s is kept out by its own lock %s", c.name, locked.Holder.ID)
	}
}

// work reads the register and adds to it, once or twice. It stops for nothing but an error.
func (c *client) work(ctx context.Context, t *lock.Tenure, h *holding) {
	s, err := c.store.Begin(ctx, t)
	c.sleep(0)
	if c.dead() || c.hindered(err) {
		return
	}
	call := time.Now()
	_, body, err := c.store.Open(ctx, ref)
	c.sleep(0)
	if c.dead() || c.hindered(err) {
		return
	}
	content, _ := io.ReadAll(body)
	_ = body.Close()
	r, err := parseRegister(content)
	if err != nil {
		c.hindered(err)
		return
	}
	c.w.observe(r.content(), call)
	for n := range 1 + c.pick(2) {
		c.sleep(c.between(10*time.Millisecond, 5*time.Second))
		if c.dead() {
			return
		}
		id := fmt.Sprintf("%s:%d", h.id, n+1)
		next := r.with(id, "lineage of "+id)
		u := c.w.begin(h, id, r.content())
		_, err := s.Write(ctx, bytes.NewReader(next), state.WriteOptions{})
		c.sleep(0)
		if c.dead() {
			return
		}
		c.w.end(u, judged(err), err)
		c.w.hear(err)
		if judged(err) != written {
			return
		}
		r, _ = parseRegister(next)
	}
}

func judged(err error) verdict {
	switch {
	case err == nil, errors.Is(err, state.ErrDigestStale):
		return written
	case errors.Is(err, statelatch.ErrAmbiguous):
		return unclear
	}
	return refused
}

// hindered notes an error of a read.
func (c *client) hindered(err error) bool {
	if err == nil {
		return false
	}
	c.w.mu.Lock()
	defer c.w.mu.Unlock()
	c.w.note(c.process, "CANNOT READ: %v", err)
	c.w.count.failed++
	if c.w.undisturbed() {
		c.w.violate("begin: %s failed without a cause: %v", c.name, err)
	}
	return true
}

// released judges the end of a tenure.
func (w *world) released(h *holding, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(h.by, "RELEASED %s: %v", h.id, err)
	switch {
	case err == nil && w.holder == h && !h.removed && !h.ousted: // else a late copy of its creation may have brought it back, until its lease ends
		w.violate("release: the lock %s is still there", h.id)
	case err != nil && w.undisturbed():
		w.violate("release: %s failed without a cause: %v", h.id, err)
	case errors.Is(err, statelatch.ErrLockLost):
		w.count.lost++
	case err != nil:
		w.count.failed++
	}
}

// last is the name of the client that recovers.
const last = "last"

// recover is a client that comes when all is over. It must find all in order, and leave it so.
func (w *world) recover(ctx context.Context) {
	c := w.newClient(last, 1_000_000, 0)
	t, err := c.acquireAtLast(ctx)
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.violate("recovery: %v", err)
		return
	}
	h := w.enter(t.Held().Info.ID)
	w.judgeDigest()
	c.work(ctx, t, h)
	w.exit(h, "releases")
	_, err = t.Release(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch update := w.made[len(w.made)-1]; {
	case update.by != h || update.verdict != written:
		w.violate("recovery: nothing was written")
	case err != nil || w.lock != nil:
		w.violate("recovery: the lock stays: %v", err)
	case w.table && w.items[ref.DynamoDBLockID()] != "":
		w.violate("recovery: the item stays: %s", w.items[ref.DynamoDBLockID()])
	case w.table && w.items[ref.DynamoDBDigestID()] != hexMD5(w.body):
		w.violate("recovery: the digest is not the state's")
	}
}

// acquireAtLast needs a person only for an item in the table whose lock object was released before its holder died: an
// item promises nothing.
func (c *client) acquireAtLast(ctx context.Context) (*lock.Tenure, error) {
	for {
		t, err := c.locks.Acquire(ctx, ref, lock.Request{
			TTL: 20 * time.Second, Wait: 2 * time.Minute, TakeOver: true, FenceAlways: c.w.forced, Who: c.name,
		})
		locked, ok := errors.AsType[*statelatch.LockedError](err)
		if !ok || locked.Table == "" {
			return t, err
		}
		c.w.stuck(locked.Holder.ID)
		if _, _, err := c.locks.ForceUnlock(ctx, ref, locked.Holder.ID, lock.Request{Who: c.name}); err != nil {
			return nil, err
		}
	}
}

// stuck judges an item that is left in the table: nobody may have taken over the lock object that belonged to it.
func (w *world) stuck(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count.stuck++
	if h := w.holdings[id]; h.ousted && h.item {
		w.violate("stuck: the lock %s was taken over, but its item in the table was not", id)
	}
}

func hexMD5(body []byte) string {
	sum := md5.Sum(body)
	return hex.EncodeToString(sum[:])
}
