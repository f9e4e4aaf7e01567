package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/internal/plural"
)

// race is a contest that at most one client may win in each round.
type race struct {
	who     string // the clients, in evidence
	scene   func(ctx context.Context, p *prober, r *round) error
	cond    func(r *round, client int) bucket.Condition
	deletes func(client int) bool // nil: nobody
	// handover: the deletes are one contest, and creates that follow the delete another.
	handover bool
	// decisive: where there is but one round it gets two, for no other check finds what it finds.
	decisive bool
}

// round is one round: many clients, one key.
type round struct {
	race

	key     string
	initial string   // content before, empty if absent
	etag    string   // of that
	content []string // what client i writes, unique; empty for one that deletes
	errs    []error  // what client i was told
	began   []time.Time
	ended   []time.Time
	final   string // content after, empty if absent
	err     error  // the round is undecided
}

func raceOf(name string, need Need, rc race, after ...string) check {
	advice := adviseNone
	if need == NeedFull {
		advice = adviseCAS
	}
	return check{
		name: name, need: need, after: append([]string{nameETag}, after...), once: true, advice: advice,
		run: func(ctx context.Context, p *prober, at string) (string, error) { return p.race(ctx, rc, name, at) },
	}
}

func all(int) bool                { return true }
func everySecond(client int) bool { return client%2 == 1 }

func creates(*round, int) bucket.Condition     { return bucket.IfAbsent }
func matches(r *round, _ int) bucket.Condition { return bucket.IfMatch(r.etag) }

func deletesOrCreates(r *round, client int) bucket.Condition {
	if r.content[client] == "" {
		return bucket.IfMatch(r.etag)
	}
	return bucket.IfAbsent
}

func free(context.Context, *prober, *round) error { return nil }

func taken(ctx context.Context, p *prober, r *round) error {
	r.initial = "initial"
	obj, err := p.seed(ctx, r.key, r.initial)
	r.etag = obj.ETag
	return err
}

func deleted(ctx context.Context, p *prober, r *round) error {
	err := taken(ctx, p, r)
	if err == nil {
		r.initial = ""
		if err = p.remove(ctx, r.key, r.etag); errors.Is(err, statelatch.ErrNotFound) &&
			!errors.Is(err, statelatch.ErrNoBucket) {
			err = nil // something on the way sent it twice; gone is gone
		}
	}
	return err
}

// race runs the rounds, at least minRounds and then while there is time, until one is violated. Only the contests are
// one after the other: where a store is far away, most of the time would go into preparing each and looking at what it
// left.
func (p *prober) race(ctx context.Context, rc race, check, at string) (string, error) {
	start := time.Now()
	want := p.opts.Rounds
	if rc.decisive {
		want = max(want, 2)
	}
	done, open, idle := 0, 0, 0
	for done < want && (done < minRounds || time.Since(start) < raceBudget) {
		rounds := make([]*round, min(minRounds, want-done))
		for i := range rounds {
			rounds[i] = p.newRound(rc, fmt.Sprintf("%s-%d", at, done+open+idle+i))
		}
		atOnce(rounds, func(r *round) { r.err = r.scene(ctx, p, r) })
		for i, r := range rounds {
			p.progress(Progress{Check: check, Round: done + i + 1, Rounds: want})
			if r.err == nil {
				r.err = p.contest(ctx, r)
			}
		}
		atOnce(rounds, func(r *round) {
			if r.err == nil {
				_, r.final, _, r.err = p.get(ctx, r.key)
			}
		})
		before := open
		var err error // why a round is undecided
		for _, r := range rounds {
			if r.err == nil {
				r.err = r.judge()
			}
			if f, ok := errors.AsType[failure](r.err); ok {
				f.evidence = fmt.Sprintf("%s in round %d of %d", f.evidence, done+1, want)
				return "", f
			}
			if r.err == nil && p.opts.Rounds < minRounds && idle < maxIdle && !r.contested() {
				idle++ // it proves nothing, and there are few
				continue
			}
			if r.err == nil {
				done++
				continue
			}
			open++
			if err == nil || transient(err) {
				err = r.err
			}
		}
		switch {
		case err == nil:
		case !transient(err) || ctx.Err() != nil:
			return "", err
		case open > tries:
			return "", fmt.Errorf("decided: %s, undecided: %d: %w", plural.Of(done, "round"), open, err)
		default:
			pause(ctx, before)
		}
	}
	clients := fmt.Sprintf("%d %s", p.opts.Clients, rc.who)
	if len(p.doors) > 1 {
		clients += " through " + plural.Of(len(p.doors), "endpoint")
	}
	return fmt.Sprintf("never more than one winner of %s in %s", clients, plural.Of(done, "round")), nil
}

func atOnce(rounds []*round, do func(*round)) {
	var running sync.WaitGroup
	for _, r := range rounds {
		running.Go(func() { do(r) })
	}
	running.Wait()
}

func (p *prober) newRound(rc race, name string) *round {
	r := &round{race: rc, key: p.key(name), content: make([]string, p.opts.Clients), errs: make([]error, p.opts.Clients)}
	r.began, r.ended = make([]time.Time, p.opts.Clients), make([]time.Time, p.opts.Clients)
	for client := range r.content {
		if rc.deletes == nil || !rc.deletes(client) {
			r.content[client] = fmt.Sprintf("client %d", client)
		}
	}
	return r
}

// contest lets all clients go at once and returns when all are done. An error leaves the round undecided.
func (p *prober) contest(ctx context.Context, r *round) error {
	gate := make(chan struct{})
	var clients, ready sync.WaitGroup
	ready.Add(len(r.content))
	for client := range r.content {
		// Two neighbours, of which one may delete, share an endpoint.
		door := p.doors[client/2%len(p.doors)]
		clients.Go(func() {
			ready.Done()
			<-gate
			r.began[client] = time.Now()
			r.errs[client] = p.attempt(ctx, door, r, client)
			r.ended[client] = time.Now()
		})
	}
	ready.Wait() // who is late meets nobody
	close(gate)
	clients.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, err := range r.errs {
		if errors.Is(err, statelatch.ErrDenied) || errors.Is(err, statelatch.ErrNoBucket) {
			return err
		}
	}
	return nil
}

// maxIdle is how many rounds without a contest are made good for, where there are few.
const maxIdle = 8

// contested reports whether half of the clients were under way together with one that won, so that it could have gone
// wrong.
func (r *round) contested() bool {
	for winner, err := range r.errs {
		if err != nil {
			continue
		}
		together := 0
		for i := range r.errs {
			if i != winner && !r.began[i].After(r.ended[winner]) && !r.began[winner].After(r.ended[i]) {
				together++
			}
		}
		return 2*together >= len(r.errs)
	}
	return true
}

// attempt is one client's try. A conflict changed nothing, so it tries again.
func (p *prober) attempt(ctx context.Context, door bucket.Bucket, r *round, client int) (err error) {
	cond := r.cond(r, client)
	for range 2 * tries {
		if r.content[client] == "" {
			err = p.delete(ctx, door, r.key, cond)
		} else {
			_, err = p.put(ctx, door, r.key, r.content[client], cond)
		}
		if !errors.Is(err, statelatch.ErrConflict) || ctx.Err() != nil {
			break
		}
	}
	return err
}

// tally counts the clients of one kind by what they were told.
type tally struct {
	clients int
	winner  int // one that was told that it won
	won     int
	refused int   // told that the condition does not hold
	unknown int   // told that the outcome is not known
	other   error // the last one that neither won nor lost, because the network or a conflict got in the way
}

func (r *round) count(of func(client int) bool) tally {
	var t tally
	for client, err := range r.errs {
		if !of(client) {
			continue
		}
		t.clients++
		switch {
		case err == nil:
			t.won++
			t.winner = client
		case errors.Is(err, statelatch.ErrAmbiguous):
			t.unknown++
			t.other = err
		case errors.Is(err, statelatch.ErrPreconditionFailed), errors.Is(err, statelatch.ErrNotFound):
			t.refused++
		default:
			t.other = err
		}
	}
	return t
}

// judge finds what cannot be with at most one winner: a failure. Any other error leaves the round undecided.
func (r *round) judge() error {
	if !r.handover {
		return r.oneWinner(all, r.who)
	}
	deleter := func(client int) bool { return r.content[client] == "" }
	creator := func(client int) bool { return r.content[client] != "" }
	if created := r.count(creator); r.final == "" || r.final == r.initial {
		if created.won > 0 {
			return failure{evidence: fmt.Sprintf("%s created the object, but %s was left: a delete on another ETag removed "+
				"it, by one of %d deleters",
				r.content[created.winner], left(r.final), r.count(deleter).clients)}
		}
		return r.oneWinner(deleter, "deleters")
	}
	if gone := r.count(deleter); gone.won > 1 {
		return several(gone, "deleters")
	}
	return r.oneWinner(creator, "creators")
}

// oneWinner expects that one of the clients won and that its write is what is left. Where nobody was told so, the write
// may be that of a client that does not know, or of one that was refused: something on the way may have sent its
// request twice and passed on the second answer (B1). A lock is read back then.
func (r *round) oneWinner(of func(client int) bool, who string) error {
	t := r.count(of)
	switch {
	case t.won > 1:
		return several(t, who)
	case t.won == 1 && r.final != r.content[t.winner]:
		return failure{evidence: fmt.Sprintf("one of %d %s was told that it won, but %s was left, not %s", t.clients, who,
			left(r.final), left(r.content[t.winner]))}
	case t.won == 1:
		return nil
	case r.final != r.initial && !r.wrote(of, r.final):
		return failure{evidence: fmt.Sprintf("%s was left, which none of %d %s wrote", left(r.final), t.clients, who)}
	case r.final != r.initial:
		return nil
	case t.refused > 0 && t.refused+t.unknown == t.clients:
		return failure{
			evidence: fmt.Sprintf("%d of %d %s were refused although nobody won", t.refused, t.clients, who),
			refused:  true,
		}
	}
	return t.other
}

func several(t tally, who string) failure {
	return failure{evidence: fmt.Sprintf("%d of %d %s were told that they won", t.won, t.clients, who)}
}

// wrote reports whether content is what one of the clients wrote.
func (r *round) wrote(of func(client int) bool, content string) bool {
	for client, written := range r.content {
		if of(client) && written == content {
			return true
		}
	}
	return false
}

// The race of readers against a writer.
const (
	tornReaders = 4
	tornWrites  = 16
	tornWords   = 8 << 10
	tornWord    = 8 // bytes
)

// raceTornReads: while an object is replaced, every read is of one body, and an ETag belongs to one body.
func raceTornReads(ctx context.Context, p *prober, name string) (string, error) {
	key := p.key(name)
	body := func(n int) string { return strings.Repeat(fmt.Sprintf("%0*d", tornWord, n), tornWords+n) }
	obj, err := p.seed(ctx, key, body(0))
	if err != nil {
		return "", err
	}
	seen := sightings{bodies: map[string]string{obj.ETag: body(0)[:tornWord]}}
	written := make(chan struct{})
	errs := make([]error, tornReaders)
	var readers sync.WaitGroup
	for i := range errs {
		readers.Go(func() {
			for last := false; !last && errs[i] == nil; {
				select {
				case <-written:
					last = true
				default:
				}
				obj, content, err := p.getOnce(ctx, key)
				if err == nil {
					err = seen.add(obj, content)
				}
				errs[i] = err
			}
		})
	}
	for n := 1; n <= tornWrites && err == nil; n++ {
		if obj, err = p.put(ctx, p.door(), key, body(n), bucket.IfMatch(obj.ETag)); err == nil {
			err = seen.add(obj, body(n))
		}
	}
	close(written)
	readers.Wait()
	for _, e := range append(errs, err) {
		if _, ok := errors.AsType[failure](e); ok || err == nil {
			err = e
		}
	}
	return fmt.Sprintf("%s during %s of %d KiB were whole", plural.Of(seen.reads-tornWrites, "read"),
		plural.Of(tornWrites, "write"), tornWords*tornWord>>10), err
}

// sightings remembers which body each ETag was seen with.
type sightings struct {
	mu     sync.Mutex
	reads  int
	bodies map[string]string
}

func (s *sightings) add(obj bucket.Object, content string) error {
	if len(content) < tornWord {
		return failure{evidence: "a read during a write got " + plural.Of(len(content), "byte")}
	}
	word := content[:tornWord]
	var n int
	_, err := fmt.Sscanf(word, "%d", &n)
	if err != nil || content != strings.Repeat(word, tornWords+n) {
		return failure{evidence: fmt.Sprintf("a read during a write got %s that are no body that was written",
			plural.Of(len(content), "byte"))}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if before, ok := s.bodies[obj.ETag]; ok && before != word {
		return failure{evidence: fmt.Sprintf("the ETag %s came with two bodies", obj.ETag)}
	}
	s.bodies[obj.ETag] = word
	return nil
}
