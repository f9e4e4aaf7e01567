// Package probe finds out by trying whether a bucket can lock: whether its conditions are honoured, one after the other
// and under contention, through every endpoint that is given. Its verdict is a [lock.Tier].
//
// What it guarantees: a tier is the result of checks that were decided, never of a network that failed; a check that
// passed has seen the store refuse and accept what it must, and looked at what was left; nothing outside a random
// prefix below [statelatch.ProbePrefix] is read, written or deleted, but for what an earlier probe that was killed left
// there a day ago or more; and what it wrote is removed again, also after a failure or an interrupt, or reported as
// left behind. What it does not: races are evidence, not proof. A store that looks first and acts then in a window too
// narrow for these clients passes, and so does one that loses its conditions only while it is failing.
package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/lock"
)

// The size of each race unless [Options] say otherwise.
const (
	DefaultClients = 32 // that write at once
	DefaultRounds  = 50 // each on a fresh key
)

const (
	// tries is how often a check is repeated, each time on a fresh key, while a network leaves it undecided.
	tries = 10
	// confirmations is how often in a row a store must refuse what it ought to accept.
	confirmations = 3
	// minRounds of a race are run however long they take; after raceBudget there are no more.
	minRounds  = 10
	raceBudget = 3 * time.Second
	// cleanBudget bounds the cleaning up. It runs on when the caller's context ends.
	cleanBudget = 30 * time.Second
)

// Options are the size of a probe. The zero value is the usual one.
type Options struct {
	Clients int // of a race, at least 2; 0: DefaultClients
	Rounds  int // of a race; 0: DefaultRounds
	// Engines are asked, too, whether they can write; none: that check is not made.
	Engines []Engine
	// Brief leaves out the checks of large and many reads, which decide about no tier.
	Brief bool
	// OnProgress, if not nil, is called by Run itself, before each check and each round of a race.
	OnProgress func(Progress)
}

// Short is the probe that somebody waits for: of at most 150 requests where the store is right, with Engines for two,
// and where no round of a race has to be repeated because the clients missed each other.
// One round of each race finds what is wrong under any contention; what shows only now and then takes the usual size.
func Short() Options { return Options{Clients: 6, Rounds: 1, Brief: true} }

// Progress is how far a probe has come.
type Progress struct {
	Check         string // empty: cleaning up
	Number, Of    int    // of the check, from 1
	Round, Rounds int    // of a race; 0 otherwise
}

// Outcome is what became of a check.
type Outcome string

// The outcomes. A check that needs something that another one found missing is not decided.
const (
	Passed    Outcome = "passed"    // the store does it right
	Failed    Outcome = "failed"    // the store does it wrong; see Check.Evidence
	Undecided Outcome = "undecided" // nothing is known; see Check.Evidence
)

// Need is the tier that a check decides about.
type Need string

// The needs.
const (
	NeedCAS  Need = "cas"  // if it fails, nothing can be locked
	NeedFull Need = "full" // if it fails, releases are weak
	NeedNone Need = ""     // good to know
)

// Check is one question and its answer.
type Check struct {
	Name        string  // stable
	RequiredFor Need    // what the store is not good for without it
	Outcome     Outcome // what was seen
	Evidence    string  // one line for people, with numbers
	Advice      string  // what follows and what to do; empty unless it failed
}

// Result is what was found out.
type Result struct {
	Tier       lock.Tier     // what the store's conditions are good for
	Checks     []Check       // all of them, in the order of the run
	Versioned  bool          // the bucket keeps versions
	ETagIsMD5  bool          // the ETag of a small body is its MD5
	ClockSkew  time.Duration // Date of an answer minus Last-Modified of the object just written
	Clients    int           // asked for
	Rounds     int           // asked for; the evidence tells how many there were
	Requests   int           // calls of the port, a listing counted once
	Elapsed    time.Duration // from the first request to the last
	LeftBehind []string      // what could not be removed, and why
}

// FirstFailed is the check that decided against a better tier; the zero Check if none did.
func (r Result) FirstFailed() Check {
	for _, need := range []Need{NeedCAS, NeedFull} {
		for _, c := range r.Checks {
			if c.RequiredFor == need && c.Outcome == Failed {
				return c
			}
		}
	}
	return Check{}
}

// Run probes one bucket, through each of doors: the same bucket behind one endpoint or more. With several, requests
// that follow on each other and clients that race go through different ones.
//
// An error means that there is no verdict: a check that a tier depends on stayed undecided. It matches the store's
// kind, such as ErrDenied, or ErrUnsupported where the store refuses to store anything the way it is asked to,
// encrypted for example. The Result then tells only what was found, and left behind, so far. Nothing is retried for
// longer than some seconds. Exclusive access is not needed: probes may run beside each other and beside everything
// else.
func Run(ctx context.Context, doors []bucket.Bucket, opts Options) (Result, error) {
	if len(doors) == 0 {
		return Result{}, fmt.Errorf("%w probe: no bucket is given", statelatch.ErrInvalid)
	}
	for _, door := range doors {
		if door.Name() != doors[0].Name() {
			return Result{}, fmt.Errorf("%w probe: the endpoints are given for bucket %q and for %q, but a verdict is of one",
				statelatch.ErrInvalid, doors[0].Name(), door.Name())
		}
	}
	if opts.Clients == 0 {
		opts.Clients = DefaultClients
	}
	if opts.Rounds == 0 {
		opts.Rounds = DefaultRounds
	}
	if opts.Clients < 2 || opts.Rounds < 1 {
		return Result{}, fmt.Errorf("%w probe with %d clients and %d rounds: at least 2 and 1", statelatch.ErrInvalid,
			opts.Clients, opts.Rounds)
	}
	start := time.Now()
	p := &prober{
		doors: doors, opts: opts, prefix: statelatch.ProbePrefix + strings.ToLower(rand.Text()) + "/",
		written: make(map[string][]string), checks: checks(),
		Result: Result{Clients: opts.Clients, Rounds: opts.Rounds},
	}
	if len(opts.Engines) > 0 {
		p.checks = append(p.checks, enginesCheck(opts.Engines))
	}
	err := p.runAll(ctx)
	p.clean(ctx)
	p.Requests, p.Elapsed = int(p.requests.Load()), time.Since(start)
	return p.Result, err
}

// prober is one run.
type prober struct {
	Result
	doors  []bucket.Bucket
	opts   Options
	prefix string
	checks []check
	number int       // of the check that is running
	now    time.Time // by the store's clock, when the probe began

	turn     atomic.Uint32
	requests atomic.Int64

	mu      sync.Mutex
	unknown bool                // the outcome of some write is not known
	written map[string][]string // key to the version IDs that are known, of objects and of delete markers
}

// failure is a check that the store failed, and its evidence. Any other error leaves the check undecided.
type failure struct {
	evidence string
	// again: it may have been the network, where something on the way sends requests twice and passes on the second
	// answer.
	again bool
	// refused: the store does not do what was asked for, and says so. That harms nobody.
	refused bool
}

func (f failure) Error() string { return f.evidence }

// runAll makes the checks until one that matters stays undecided, and sets the tier.
func (p *prober) runAll(ctx context.Context) error {
	all := p.checks
	for i, c := range all {
		p.number = i + 1
		p.progress(Progress{Check: c.name})
		done := Check{Name: c.name, RequiredFor: c.need, Outcome: Passed}
		var err error
		if p.opts.Brief && c.long {
			done.Outcome, done.Evidence = Undecided, "not tried: a short probe leaves it out"
		} else if missing := p.missing(c.after); missing != "" {
			done.Outcome, done.Evidence = Undecided, "not tried: it needs "+missing
		} else if done.Evidence, err = p.decide(ctx, c); err != nil {
			done.Outcome, done.Evidence = Undecided, err.Error()
			if f, ok := errors.AsType[failure](err); ok {
				done.Outcome, done.Advice = Failed, c.advice(f.refused)
				err = nil
			}
		}
		p.Checks = append(p.Checks, done)
		if ctx.Err() != nil {
			return fmt.Errorf("probe of s3://%s: %w", p.doors[0].Name(), context.Cause(ctx))
		}
		if err != nil && c.need != NeedNone && p.FirstFailed().RequiredFor != NeedCAS {
			return undecided(c.name, err)
		}
	}
	switch p.FirstFailed().RequiredFor {
	case NeedCAS:
		p.Tier = lock.TierNone
	case NeedFull:
		p.Tier = lock.TierCAS
	case NeedNone:
		p.Tier = lock.TierFull
	}
	return nil
}

// undecided is a probe without a verdict. That a write of its own has an unknown outcome is nobody else's concern.
func undecided(check string, err error) error {
	if _, ok := errors.AsType[cannotStore](err); ok {
		return err
	}
	text := fmt.Sprintf("the check %q has no outcome, so it is not known whether this store can lock", check)
	if errors.Is(err, statelatch.ErrAmbiguous) {
		return fmt.Errorf("%w: %s: %s", statelatch.ErrBroken, text, err.Error())
	}
	return fmt.Errorf("%s: %w", text, err)
}

// missing names the first of the checks that has not passed.
func (p *prober) missing(names []string) string {
	for _, c := range p.Checks {
		if c.Outcome != Passed && slices.Contains(names, c.Name) {
			return c.Name
		}
	}
	return ""
}

// decide makes one check, again on another key while the network gets in the way.
func (p *prober) decide(ctx context.Context, c check) (evidence string, err error) {
	name := strings.ReplaceAll(c.name, "/", "-")
	for try := range tries {
		evidence, err = c.run(ctx, p, fmt.Sprintf("%s-%d", name, try))
		f, failed := errors.AsType[failure](err)
		if err == nil || failed && (!f.again || try+1 >= confirmations) || !failed && (c.once || !transient(err)) ||
			ctx.Err() != nil {
			return evidence, err
		}
		pause(ctx, try)
	}
	return evidence, err
}

func (p *prober) progress(now Progress) {
	if p.opts.OnProgress != nil {
		now.Number, now.Of = p.number, len(p.checks)
		p.opts.OnProgress(now)
	}
}

// transient reports whether err may pass by trying again.
func transient(err error) bool {
	if se, ok := errors.AsType[*statelatch.StoreError](err); ok && refusedOutright(se) {
		return false
	}
	return errors.Is(err, statelatch.ErrAmbiguous) || errors.Is(err, statelatch.ErrConflict) ||
		errors.Is(err, statelatch.ErrThrottled) || errors.Is(err, statelatch.ErrBroken)
}

// refusedOutright reports whether the store understood and will not do it: 501, or a 400 for a header that it does not
// know.
func refusedOutright(err error) bool {
	if errors.Is(err, statelatch.ErrUnsupported) {
		return true
	}
	se, ok := errors.AsType[*statelatch.StoreError](err)
	return ok && errors.Is(se.Kind, statelatch.ErrBroken) && se.Status/100 == 4
}

// pause waits a little, longer each time, and not at all once ctx is done.
func pause(ctx context.Context, try int) {
	select {
	case <-ctx.Done():
	case <-time.After(min(20*time.Millisecond<<try, 500*time.Millisecond)):
	}
}

// door is the endpoint whose turn it is.
func (p *prober) door() bucket.Bucket { return p.doors[int(p.turn.Add(1))%len(p.doors)] }

// key is a key of this run. It ends as a lock's does, so that policies, encryption and tags for locks apply to it.
func (p *prober) key(name string) string { return p.prefix + name + statelatch.LockKeySuffix }

func (p *prober) put(
	ctx context.Context, through bucket.Bucket, key, content string, cond bucket.Condition,
) (bucket.Object, error) {
	p.requests.Add(1)
	obj, err := through.Put(ctx, key, strings.NewReader(content), bucket.PutOptions{If: cond})
	p.note(key, obj.VersionID, err)
	return obj, err
}

func (p *prober) delete(ctx context.Context, through bucket.Bucket, key string, cond bucket.Condition) error {
	p.requests.Add(1)
	deleted, err := through.Delete(ctx, key, bucket.DeleteOptions{If: cond})
	p.note(key, deleted.VersionID, err)
	return err
}

// note remembers what a request may have written under key, and its version if there is one.
func (p *prober) note(key, version string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if errors.Is(err, statelatch.ErrAmbiguous) {
		p.unknown = true
	} else if err != nil {
		return
	}
	if _, ok := p.written[key]; !ok || version != "" {
		p.written[key] = append(p.written[key], version)
	}
	if bucket.KeptVersion(version) {
		p.Versioned = true
	}
}

// get reads a whole object that may be absent (found is false then), again while the network gets in the way.
func (p *prober) get(ctx context.Context, key string) (obj bucket.Object, content string, found bool, err error) {
	for try := range tries {
		obj, content, err = p.getOnce(ctx, key)
		switch {
		case err == nil:
			return obj, content, true, nil
		case errors.Is(err, statelatch.ErrNotFound):
			return bucket.Object{}, "", false, nil
		case errors.Is(err, statelatch.ErrDenied):
			return obj, "", false, fmt.Errorf("%w (without s3:ListBucket an object that is not there is denied, too)", err)
		case !transient(err) || ctx.Err() != nil:
			return obj, "", false, err
		}
		pause(ctx, try)
	}
	return obj, "", false, err
}

func (p *prober) getOnce(ctx context.Context, key string) (bucket.Object, string, error) {
	p.requests.Add(1)
	obj, body, err := p.door().Get(ctx, key, bucket.ReadOptions{})
	if err != nil {
		return obj, "", err
	}
	data, err := io.ReadAll(body)
	if err = errors.Join(err, body.Close()); err != nil {
		err = fmt.Errorf("%w: read the body of %s: %w", statelatch.ErrBroken, key, err)
	}
	return obj, string(data), err
}
