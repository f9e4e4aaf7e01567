package simulation

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/state"
)

// holding is what the oracles know of one lock ID: a tenure, or an attempt at one.
type holding struct {
	id      string
	by      *process
	order   int  // its place among all holdings, by when its lock object appeared in the store; 0: not yet
	entered bool // Acquire returned it
	removed bool // its own process has removed its lock object
	ousted  bool // its lock object was replaced or removed by somebody else

	releasing bool     // its process has asked a gateway to release it
	released  bool     // and was told that it did
	remover   *process // the gateway that did
	forced    bool     // a person has asked a gateway to remove it

	item bool // its item is in the table, and came there before that

	enter, leave time.Time // the critical section; leave is zero while it lasts
}

// verdict is what the writer of an update was told.
type verdict string

const (
	pending verdict = "pending" // the writer died
	written verdict = "written"
	refused verdict = "refused"
	unclear verdict = "unclear"
)

// update is one attempt to add to the register.
type update struct {
	id      string
	by      *holding
	from    string // the content that it was based on
	call    time.Time
	back    time.Time // zero: never
	verdict verdict
}

// observation is a read of the register by somebody who holds the lock.
type observation struct {
	content    string
	call, back time.Time
}

// violate notes that a property does not hold. The caller holds w.mu.
func (w *world) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.violations = append(w.violations, text)
	w.note(nil, "VIOLATION %s", text)
}

// judgeSending: no request without a condition leaves a managed client for the lock or the state.
func (w *world) judgeSending(p *process, m message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	weakRelease := w.weak && m.op == "delete" && m.key == ref.LockKey()
	if !p.plain && m.cond.IsZero() && !weakRelease {
		w.violate("unconditional: %s sends %v", p.name, m)
	}
}

// judgePut looks at a PUT that the store has just executed. The caller holds w.mu.
func (w *world) judgePut(key string, body []byte) {
	if key == ref.LockKey() {
		w.judgeLock(body)
		return
	}
	w.judgeState(body)
	w.body = body
}

// judgeLock: a lease's sequence grows, a nonce is never used again.
func (w *world) judgeLock(body []byte) {
	info, err := statelatch.ParseLockInfo(body)
	h := w.holdings[info.ID]
	if err != nil || h == nil {
		w.violate("lock: unknown ID %q (%v)", info.ID, err)
		return
	}
	if m := statelatch.ParseManaged(body); m != nil {
		if known, ok := w.nonces[m.Nonce]; ok && known != string(body) {
			w.violate("nonce: %s is in two bodies of %s", m.Nonce, info.ID)
		}
		w.nonces[m.Nonce] = string(body)
		if old := statelatch.ParseManaged(w.lock); old != nil && w.holder == h && m.Seq <= old.Seq {
			w.violate("sequence: %s steps from %d to %d", info.ID, old.Seq, m.Seq)
		}
	}
	w.lock = body
	w.setHolder(h)
}

// judgeDelete: a managed client removes no lock but its own, and a gateway that of nobody who works under it.
func (w *world) judgeDelete(p *process, key string) {
	if key != ref.LockKey() {
		w.violate("delete: %s removed the state", p.name)
		return
	}
	switch {
	case w.holder == nil:
	case p.gate && w.holder.releasing:
		w.holder.removed, w.holder.remover = true, p
	case w.holder.by == p, p.gate && !w.holder.entered:
		w.holder.removed = true
	case p.gate && w.holder.forced:
	case !p.plain:
		w.violate("delete: %s removed the lock %s", p.name, w.holder.id)
	}
	w.lock = nil
	w.setHolder(nil)
}

// judgeItem notes whose item in the table was replaced by whose; empty is none. An item that comes late, after its
// lock object was taken over, is nobody's to clear away.
func (w *world) judgeItem(old, now string) {
	if info, err := statelatch.ParseLockInfo([]byte(old)); err == nil {
		w.holdings[info.ID].item = false
	}
	if info, err := statelatch.ParseLockInfo([]byte(now)); err == nil {
		w.holdings[info.ID].item = !w.holdings[info.ID].ousted
	}
}

func (w *world) setHolder(h *holding) {
	if w.holder == h {
		return
	}
	if w.holder != nil && !w.holder.removed {
		w.holder.ousted = true
	}
	// A late copy of its creation can bring back a lock that was forced away, and with it the right to work.
	if w.holder = h; h != nil && (!h.entered || len(w.houses) > 0) {
		w.orders++
		h.order, h.removed, h.ousted = w.orders, false, false
	}
}

// judgeState: a touch leaves the content; an update was made from what it replaces (L1), raises the serial, keeps the
// lineage, and comes from no tenure that is older than one that has entered (P_ZOMBIE).
func (w *world) judgeState(body []byte) {
	next, err := parseRegister(body)
	if err != nil {
		w.violate("state: not a state: %v", err)
		return
	}
	old, _ := parseRegister(w.body)
	if next.content() == old.content() {
		if old.content() != "" && !bytes.Equal(trimmed(body), trimmed(w.body)) {
			w.violate("touch: it changed the state from %q to %q", w.body, body)
		}
		return
	}
	ids := next.updates()
	u := w.updates[ids[len(ids)-1]]
	switch {
	case u == nil:
		w.violate("state: unknown update %q", ids)
		return
	case !slices.Equal(ids[:len(ids)-1], old.updates()):
		w.violate("lost update: %s replaces [%s] by [%s]", u.id, old.content(), next.content())
	case old.content() != "" && (next.Lineage != old.Lineage || next.Serial <= old.Serial):
		w.violate("serial: %s steps from %s/%d to %s/%d", u.id, old.Lineage, old.Serial, next.Lineage, next.Serial)
	}
	if u.by.order < w.entered {
		w.violate("zombie: %s of tenure %d lands after tenure %d entered", u.id, u.by.order, w.entered)
	}
	if u.verdict == refused {
		w.violate("refused: %s lands after its writer was told that it was not written", u.id)
	}
	w.landed[u.id] = true
}

func trimmed(body []byte) []byte { return bytes.TrimRight(body, " \t\r\n") }

// enter begins a critical section.
func (w *world) enter(id string) *holding {
	w.mu.Lock()
	defer w.mu.Unlock()
	h := w.holdings[id]
	h.entered, h.enter = true, time.Now()
	w.entered = max(w.entered, h.order)
	w.sections = append(w.sections, h)
	w.note(h.by, "ENTERS with %s, tenure %d", id, h.order)
	return h
}

// exit ends a critical section, if it was not ended yet.
func (w *world) exit(h *holding, why string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.leave.IsZero() {
		h.leave = time.Now()
		w.note(h.by, "LEAVES %s: %s", h.id, why)
	}
}

// begin notes an update before it is written.
func (w *world) begin(h *holding, id, from string) *update {
	w.mu.Lock()
	defer w.mu.Unlock()
	u := &update{id: id, by: h, from: from, call: time.Now(), verdict: pending}
	w.updates[id] = u
	w.made = append(w.made, u)
	return u
}

// end notes what the writer of an update was told, and judges it: what was written is there, what was refused
// is not, and the holder of the newest tenure is not refused (P_CONFLICT).
func (w *world) end(u *update, v verdict, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	u.back, u.verdict = time.Now(), v
	switch v {
	case written:
		w.count.updates++
	case unclear:
		w.count.unclear++
	default:
		w.count.refused++
	}
	w.note(u.by.by, "%s %s: %v", strings.ToUpper(string(v)), u.id, err)
	switch landed := w.landed[u.id]; {
	case v == written && !landed:
		w.violate("acknowledged: %s is not in the store", u.id)
	case v == refused && landed:
		w.violate("refused: %s is in the store: %v", u.id, err)
	case v == refused && w.undisturbed():
		w.violate("write: %s failed without a cause: %v", u.id, err)
	case v == refused && isRefusal(err) && w.holder == u.by && !u.by.ousted && u.by.order == w.entered:
		w.violate("conflict: %s of the newest tenure was refused: %v", u.id, err)
	}
}

// isRefusal reports whether the state was the reason that it was not written, not the lock or the network.
func isRefusal(err error) bool {
	return errors.Is(err, statelatch.ErrPreconditionFailed) || errors.Is(err, state.ErrGuarded)
}

func (w *world) observe(content string, call time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.observations = append(w.observations, observation{content, call, time.Now()})
}

// judgeHistory looks at the whole run when it is over.
func (w *world) judgeHistory() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.linearizable() {
		w.violate("history: not linearizable")
	}
	final, _ := parseRegister(w.body)
	for _, u := range w.made {
		if u.verdict == written && !slices.Contains(final.updates(), u.id) {
			w.violate("acknowledged: %s is not in the final state [%s]", u.id, final.content())
		}
	}
	if w.overlapAllowed() {
		return
	}
	slices.SortStableFunc(w.sections, func(a, b *holding) int { return a.enter.Compare(b.enter) })
	for i := 1; i < len(w.sections); i++ {
		if a, b := w.sections[i-1], w.sections[i]; a.leave.IsZero() || a.leave.After(b.enter) {
			w.violate("overlap: %s enters while %s is inside", b.id, a.id)
		}
	}
}

// step is one operation on the register for the checker.
type step struct {
	write    bool
	from, to string
}

var registerModel = porcupine.Model{
	Init: func() any { return "" },
	Step: func(state, input, _ any) (bool, any) {
		s := input.(step)
		if !s.write {
			return state == s.from, state
		}
		return state == s.from, s.to
	},
}

// linearizable checks what the clients saw, without the oracles' knowledge of the store (L1, L3). An update of unknown
// outcome that somebody saw happened at some time after it was sent; one that nobody saw did not happen, or at the very
// end.
func (w *world) linearizable() bool {
	seen := map[string]bool{}
	for _, o := range w.observations {
		for id := range strings.FieldsSeq(o.content) {
			seen[id] = true
		}
	}
	var history []porcupine.Operation
	add := func(s step, call, back time.Time) {
		end := int64(time.Since(w.start))
		if !back.IsZero() {
			end = int64(back.Sub(w.start))
		}
		history = append(history, porcupine.Operation{
			ClientId: len(history), Input: s, Call: int64(call.Sub(w.start)), Return: end,
		})
	}
	for _, o := range w.observations {
		add(step{from: o.content}, o.call, o.back)
	}
	for _, u := range w.made {
		s := step{write: true, from: u.from, to: strings.TrimSpace(u.from + " " + u.id)}
		switch {
		case u.verdict == written:
			add(s, u.call, u.back)
		case u.verdict != refused && seen[u.id]:
			add(s, u.call, time.Time{})
		}
	}
	return porcupine.CheckOperations(registerModel, history)
}
