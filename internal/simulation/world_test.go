package simulation

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket/membucket"
)

// terms are what one run is about.
type terms struct {
	clients int     // of ours
	engines int     // plain terraform or tofu, whose messages never suffer
	remotes int     // the same, behind gateways, or on the bucket itself where there is none, whose messages suffer
	gates   int     // gateways
	loss    float64 // the share of our messages that something happens to
	pauses  bool    // processes are stopped, in 30 % of the critical sections and sometimes elsewhere
	kills   bool    // processes are killed and started anew
	forced  bool    // a person removes locks, as the engines do and as we do
	table   bool    // all have a DynamoDB table
	weak    bool    // our clients know no conditional delete (R13): nothing is taken over, and a delete arrives within 10 s or never
	rounds  int     // of each client
}

func (c terms) String() string {
	s := fmt.Sprintf("clients=%d engines=%d remotes=%d gateways=%d loss=%.2f rounds=%d", c.clients, c.engines, c.remotes,
		c.gates, c.loss, c.rounds)
	for _, option := range []struct {
		on   bool
		name string
	}{{c.pauses, "pauses"}, {c.kills, "kills"}, {c.forced, "forced"}, {c.table, "table"}, {c.weak, "weak"}} {
		if option.on {
			s += " " + option.name
		}
	}
	return s
}

// world is one run: the store, everybody who uses it, and what the oracles know.
type world struct {
	terms
	seed   uint64
	start  time.Time
	bucket *membucket.Bucket
	houses []*house

	mu    sync.Mutex // guards what follows; never held while waiting
	items map[string]string
	told  map[string]bool // digests that somebody was told to set
	log   []event

	violations   []string
	body         []byte // of the state in the store
	lock         []byte // of the lock object in the store
	holder       *holding
	holdings     map[string]*holding
	orders       int
	entered      int // the newest tenure that entered
	sections     []*holding
	updates      map[string]*update
	made         []*update // in the order in which they were begun
	landed       map[string]bool
	observations []observation
	nonces       map[string]string
	count        counts
}

// counts are what happened in a run or in many.
type counts struct{ tenures, updates, unclear, refused, takeovers, lost, locked, failed, stuck, stale int }

func (c *counts) add(d counts) {
	c.tenures += d.tenures
	c.updates += d.updates
	c.unclear += d.unclear
	c.refused += d.refused
	c.takeovers += d.takeovers
	c.lost += d.lost
	c.locked += d.locked
	c.failed += d.failed
	c.stuck += d.stuck
	c.stale += d.stale
}

func (c counts) String() string {
	return fmt.Sprintf("%d tenures (%d takeovers, %d lost), %d updates written, %d unclear, %d refused; %d waited in vain, %d failed, %d stuck items, %d stale digests",
		c.tenures, c.takeovers, c.lost, c.updates, c.unclear, c.refused, c.locked, c.failed, c.stuck, c.stale)
}

// event is one line of the history.
type event struct {
	at     time.Duration
	who    string
	format string
	args   []any
}

// note adds a line to the history. The caller holds w.mu, or is alone.
func (w *world) note(p *process, format string, args ...any) {
	e := event{at: time.Since(w.start), format: format, args: args}
	if p != nil {
		e.who = p.name
	}
	w.log = append(w.log, e)
}

func (w *world) noteLocked(p *process, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.note(p, format, args...)
}

// logSent notes a message. The world must not be locked, here and in logAnswered.
func (w *world) logSent(p *process, m message, fault string) {
	if fault != "" {
		fault = ", fault: " + fault
	}
	w.noteLocked(p, "  sends %v%s", m, fault)
}

func (w *world) logAnswered(p *process, m message, err error) {
	w.noteLocked(p, "  answer to %v: %v", m, outcome{err})
}

// tally counts.
func (w *world) tally(count func(*counts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	count(&w.count)
}

// undisturbed reports whether nothing goes wrong in this run, so that nothing may fail.
func (w *world) undisturbed() bool { return w.loss == 0 && !w.pauses && !w.kills && !w.forced }

// overlapAllowed reports whether critical sections may overlap: only an engine or a process that does not run cannot be
// told that its time is over.
func (w *world) overlapAllowed() bool { return w.pauses && w.remotes == 0 || w.forced }

// plan adds a line to the history that is about a later time.
func (w *world) plan(p *process, at time.Time, what string) {
	w.noteLocked(p, "(from %v on: %s)", at.Sub(w.start), what)
}

// etag is an MD5: an ETag of membucket, or a digest.
var etag = regexp.MustCompile(`"?\b[0-9a-f]{32}\b"?`)

// history is all that happened, for people. ETags are numbered as they appear: the nonces behind them are never the
// same.
func (w *world) history() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %v\n", w.seed, w.terms)
	for _, e := range w.log {
		fmt.Fprintf(&b, "%14.6f %-6s %s\n", e.at.Seconds(), e.who, fmt.Sprintf(e.format, e.args...))
	}
	numbers := map[string]int{}
	return etag.ReplaceAllStringFunc(b.String(), func(tag string) string {
		tag = strings.Trim(tag, `"`)
		if numbers[tag] == 0 {
			numbers[tag] = len(numbers) + 1
		}
		return fmt.Sprintf("#%d", numbers[tag])
	})
}

// outcome words the error of a message, when the history is printed.
type outcome struct{ err error }

func (o outcome) String() string {
	if o.err == nil {
		return "ok"
	}
	if se, ok := errors.AsType[*statelatch.StoreError](o.err); ok {
		if se.Err != nil {
			return fmt.Sprintf("%v: %v", se.Kind, se.Err)
		}
		return se.Kind.Error()
	}
	return o.err.Error()
}

// settled is longer than any message is under way, and than any lease.
const settled = 3 * time.Minute

// simulate runs one seed in a bubble of virtual time.
func simulate(t *testing.T, seed uint64, mode mode) *world {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	w := &world{
		terms: mode.terms(rng), seed: seed, start: time.Now(), items: map[string]string{}, told: map[string]bool{},
		holdings: map[string]*holding{}, updates: map[string]*update{}, landed: map[string]bool{}, nonces: map[string]string{},
	}
	w.bucket = membucket.New(ref.Bucket, membucket.Options{})
	var everybody, operator sync.WaitGroup
	done := make(chan struct{})
	for i := range w.gates {
		h := &house{number: i + 1}
		w.houses = append(w.houses, h)
		w.open(h)
		operator.Go(func() { w.keep(h, done) })
	}
	for i := range w.clients {
		everybody.Go(func() { w.client(t.Context(), i) })
	}
	for i := range w.engines {
		everybody.Go(func() { w.engine(t.Context(), i) })
	}
	for i := range w.remotes {
		everybody.Go(func() { w.remote(i) })
	}
	switch {
	case w.remotes > 0:
		operator.Go(func() { w.gatekeeper(done) })
	case w.forced:
		operator.Go(func() { w.operator(t.Context(), done) })
	}
	everybody.Wait()
	close(done)
	operator.Wait()
	time.Sleep(settled)
	if w.remotes > 0 {
		w.recoverRemote()
	} else {
		w.recover(t.Context())
	}
	time.Sleep(settled)
	w.judgeHistory()
	return w
}
