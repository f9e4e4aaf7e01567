package simulation

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/gateway/access"
)

// sdkTries is how often the engines' SDK sends one request, and sdkPause the longest pause before another.
const (
	sdkTries = 5
	sdkPause = 20 * time.Second
)

// remote is one process of terraform or tofu with use_lockfile, as it is, which asks one of the gateways. Without any it
// asks the bucket itself.
type remote struct {
	*process
	houses  []*house
	session access.Session
	at      int           // the gateway that it is connected to
	skew    time.Duration // of its clock
}

func (w *world) newRemote(name string, stream uint64, principal access.Principal) *remote {
	p := w.newProcess(name, stream, w.loss)
	p.plain, p.remote = true, true
	e := &remote{process: p, houses: w.houses, skew: p.between(-time.Second, time.Second)}
	if len(e.houses) > 0 {
		e.at = p.pick(len(e.houses))
	}
	e.session = access.Session{ID: "session of " + name, Principal: principal, Began: time.Now()}
	return e
}

// do is a request as the SDK sends it: again, with the same body, while there is no answer or one that may pass. Its
// next try may reach another gateway. Noise tells that something happened on the way, so that the answer may be about an
// earlier try.
func (e *remote) do(r request) (got reply, noise bool) {
	for r.attempt = 1; ; r.attempt++ {
		r.signed = time.Now().Add(e.skew).Truncate(time.Second)
		if len(e.houses) == 0 {
			got = e.ask(r)
		} else {
			got = e.knock(e.houses[e.at], e.session, r)
		}
		noise = noise || got.fault != ""
		if got.status != 0 && got.status < 500 || r.attempt == sdkTries || e.dead() {
			return got, noise
		}
		noise = true
		if len(e.houses) > 0 && e.chance(0.5) {
			e.at = e.pick(len(e.houses))
		}
		e.sleep(e.between(0, min(time.Second<<r.attempt, sdkPause)))
	}
}

// pipeline is the principal of all engines; their sessions tell them apart.
var pipeline = access.Principal{Name: "ci:acme/infra", Issuer: "ci"}

// remote is one client from its start to its end, in as many processes as it takes.
func (w *world) remote(number int) {
	for left, life := w.rounds, 1; left > 0; life++ {
		p := w.newProcess(fmt.Sprintf("start%d.%d", number, life), uint64(500_000+number*1000+life), 0)
		time.Sleep(p.between(0, 3*time.Second))
		e := w.newRemote(fmt.Sprintf("e%d.%d", number, life), uint64(400_000+number*1000+life), pipeline)
		if w.kills && e.chance(0.1) {
			e.kill(e.between(0, time.Minute))
		}
		if w.pauses && e.chance(0.2) {
			e.stop(e.between(0, 10*time.Second), e.between(10*time.Second, 60*time.Second))
		}
		for again := true; again && left > 0 && !e.dead(); left-- { // init, and then the operation
			again = e.apply() && e.chance(0.4)
		}
		time.Sleep(p.between(0, 4*time.Second))
	}
}

// apply takes the lock, reads, writes and releases. It reports whether all went well.
func (e *remote) apply() bool {
	id := e.newID()
	h := e.lock(id)
	if h == nil {
		return false
	}
	ok := e.work(h)
	if e.dead() {
		e.w.died(h)
		return false
	}
	e.w.exit(h, "releases")
	return e.unlock(h) && ok
}

// lock tries to take the lock. Whatever refuses it, the engine looks who has it, and waits only if it sees somebody.
func (e *remote) lock(id string) *holding {
	info := statelatch.LockInfo{
		ID: id, Operation: "OperationTypeApply", Who: e.name, Created: time.Now(), Path: ref.Path(),
	}
	deadline := time.Now().Add(e.between(0, 2*time.Minute))
	for delay := time.Second; ; delay = min(2*delay, 16*time.Second) {
		put, noise := e.do(request{op: "put", key: ref.LockKey(), absent: true, body: info.Marshal()})
		switch {
		case e.dead():
			return nil
		case put.status == http.StatusOK:
			return e.w.enter(id)
		}
		got, late := e.do(request{op: "get", key: ref.LockKey()})
		if e.dead() {
			return nil
		}
		holder, err := statelatch.ParseLockInfo(got.body)
		e.w.refusedLock(e, id, put, got, holder, noise || late)
		if got.status != http.StatusOK || err != nil || time.Now().Add(delay).After(deadline) {
			e.w.tally(func(n *counts) { n.locked++ })
			return nil
		}
		e.sleep(delay)
	}
}

// refusedLock judges a refusal: nobody is kept out by a lock of its own, or by nobody.
func (w *world) refusedLock(e *remote, id string, put, got reply, holder statelatch.LockInfo, noise bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(e.process, "NOT ACQUIRED %s: %v, then %v %s", id, put, got, holder.ID)
	if len(e.houses) == 0 {
		return
	}
	if put.status == http.StatusPreconditionFailed && got.status == http.StatusOK && holder.ID == id && put.from == got.from {
		w.violate("jam: %s is kept out by its own lock %s", e.name, id)
	}
	if put.status == http.StatusPreconditionFailed && got.status == http.StatusNotFound && put.from == got.from && !noise {
		w.violate("wait: %s was refused, and shown nobody", e.name)
	}
	if put.status != http.StatusPreconditionFailed && w.undisturbed() {
		w.violate("acquire: %s failed without a cause: %v", e.name, put)
	}
}

// work reads the state and writes it, once or twice.
func (e *remote) work(h *holding) bool {
	call := time.Now()
	got, _ := e.do(request{op: "head", key: ref.Key})
	if got.status == http.StatusOK && !e.dead() {
		got, _ = e.do(request{op: "get", key: ref.Key})
	}
	if e.dead() {
		return false
	}
	if got.status != http.StatusOK && got.status != http.StatusNotFound {
		e.w.unread(e, got)
		return false
	}
	r, err := parseRegister(got.body)
	if err != nil {
		e.w.unread(e, reply{err: err})
		return false
	}
	e.w.observe(r.content(), call)
	for n := range 1 + e.pick(2) {
		e.sleep(e.between(200*time.Millisecond, 3*time.Second))
		if e.dead() {
			return false
		}
		id := fmt.Sprintf("%s:%d", h.id, n+1)
		next := r.with(id, "lineage of "+id)
		u := e.w.begin(h, id, r.content())
		got, noise := e.do(request{op: "put", key: ref.Key, body: next})
		if e.dead() {
			return false
		}
		verdict := unclear
		switch {
		case got.status == http.StatusOK:
			verdict, got.err = written, nil
		case got.status != 0 && got.status < 500 && !noise:
			verdict = refused
		}
		e.w.end(u, verdict, got.refusal())
		if verdict != written {
			return false
		}
		r, _ = parseRegister(next)
	}
	return true
}

func (w *world) unread(e *remote, got reply) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(e.process, "CANNOT READ: %v", got)
	w.count.failed++
	if w.undisturbed() {
		w.violate("begin: %s failed without a cause: %v", e.name, got)
	}
}

// refusal is what the answer says, for the oracles.
func (r reply) refusal() error {
	switch r.status {
	case http.StatusOK:
		return nil
	case http.StatusPreconditionFailed:
		return errors.Join(statelatch.ErrPreconditionFailed, r.err)
	}
	return errors.Join(errNoReply, r.err)
}

// unlock is an engine's release: it looks at the lock, then removes what is there.
func (e *remote) unlock(h *holding) bool {
	got, noise := e.do(request{op: "get", key: ref.LockKey()})
	if e.dead() {
		return false
	}
	info, err := statelatch.ParseLockInfo(got.body)
	if got.status != http.StatusOK || err != nil || info.ID != h.id {
		e.w.judgeUnlock(h, got, noise, "was not shown its own lock")
		return false
	}
	e.w.releasing(h)
	gone, noise := e.do(request{op: "delete", key: ref.LockKey()})
	if e.dead() {
		return false
	}
	if gone.status != http.StatusOK {
		e.w.judgeUnlock(h, gone, noise, "could not release its own lock")
		return false
	}
	e.w.unlocked(h)
	return true
}

// releasing notes that the lock of h may be removed from now on.
func (w *world) releasing(h *holding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h.releasing = true
}

// unlocked judges a release that was acknowledged.
func (w *world) unlocked(h *holding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h.released = true
	w.note(h.by, "RELEASED %s", h.id)
	if w.holder == h && len(w.houses) > 0 {
		w.violate("release: the lock %s is still there", h.id)
	}
}

// judgeUnlock: who holds the lock is not refused its release because of what is stored.
func (w *world) judgeUnlock(h *holding, got reply, noise bool, what string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(h.by, "NOT RELEASED %s: %s: %v", h.id, what, got)
	w.count.failed++
	if len(w.houses) == 0 {
		return
	}
	final := got.status != 0 && got.status < 500
	if w.undisturbed() || final && w.holder == h && !noise {
		w.violate("release: %s %s: %v", h.id, what, got)
	}
}

// died ends the critical section of a process that was killed, at the time of its death.
func (w *world) died(h *holding) {
	at := h.by.death()
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.leave.IsZero() {
		h.leave = at
		w.note(h.by, "DIED in %s", h.id)
	}
}

// gatekeeper is a person who removes locks through a gateway: those of processes that are dead, and sometimes others. The
// lock is shown to one process, and removed by another, which began after that.
func (w *world) gatekeeper(done <-chan struct{}) {
	p := w.newProcess("person", 600_000, 0)
	for n := 1; ; n++ {
		select {
		case <-done:
			return
		case <-time.After(p.between(5*time.Second, 60*time.Second)):
		}
		holder := w.lockHolder()
		if holder == nil || !holder.over() && (!w.forced || !holder.by.remote) {
			continue
		}
		time.Sleep(p.between(time.Millisecond, 10*time.Second))
		w.forceUnlock(fmt.Sprintf("person%d", n), uint64(600_000+n), holder)
	}
}

// lockHolder is whose lock is in the store.
func (w *world) lockHolder() *holding {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.holder
}

// over reports whether nobody works under the lock any more: its process is dead, or has given up.
func (h *holding) over() bool {
	if h.by.gate || h.by.dead() {
		return true
	}
	h.by.w.mu.Lock()
	defer h.by.w.mu.Unlock()
	return h.entered && !h.leave.IsZero()
}

// forceUnlock is the engines' force-unlock of the lock that a person has seen.
func (w *world) forceUnlock(name string, stream uint64, h *holding) bool {
	e := w.newRemote(name, stream, access.KeyPrincipal("person"))
	got, _ := e.do(request{op: "get", key: ref.LockKey()})
	info, err := statelatch.ParseLockInfo(got.body)
	if got.status != http.StatusOK || err != nil || info.ID != h.id {
		return false
	}
	w.forcing(h)
	gone, _ := e.do(request{op: "delete", key: ref.LockKey()})
	w.noteLocked(e.process, "FORCE-UNLOCK %s: %v", h.id, gone)
	return gone.status == http.StatusOK
}

// forcing notes that a person removes the lock of h.
func (w *world) forcing(h *holding) {
	w.mu.Lock()
	defer w.mu.Unlock()
	h.forced = true
}

// recoverRemote: when all is over, a lock is left only by who could not release it, or by a late copy of a request that
// the gateway which released it could know of no more. A person removes it, and then a client works as ever.
func (w *world) recoverRemote() {
	calm := w.loss == 0
	w.loss, w.pauses, w.kills = 0, false, false
	knows := -1
	if h := w.lockHolder(); h != nil {
		knows = slices.IndexFunc(w.houses, func(at *house) bool { return h.released && at.running().process == h.remover })
	}
	for i, h := range w.houses {
		if i != knows {
			w.open(h)
			continue
		}
		h.running().loss = 0
	}
	if h := w.lockHolder(); h != nil && knows < 0 {
		w.judgeLeft(h, calm)
		if !w.forceUnlock("last person", 700_000, h) {
			w.mu.Lock()
			w.violate("recovery: the lock of %s cannot be removed", h.id)
			w.mu.Unlock()
		}
	}
	e := w.newRemote(last, 1_000_000, pipeline)
	if knows >= 0 {
		e.at = knows
	}
	if e.apply() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.violate("recovery: nothing was written, or the lock stays")
}

// judgeLeft: without late copies, nobody who has released leaves a lock.
func (w *world) judgeLeft(h *holding, calm bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count.stuck++
	w.note(nil, "LEFT is the lock of %s", h.id)
	if h.released && calm {
		w.violate("left: the lock of %s, which has released it", h.id)
	}
}
