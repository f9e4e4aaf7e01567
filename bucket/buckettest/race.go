package buckettest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
)

// patience bounds every repetition within a round: of a request that met a conflict, of a
// preparation or a final read that failed on the way.
const patience = 50

func raceChecks() []Check {
	return []Check{
		{Name: "contention/create", Func: raceCreate},
		{Name: "contention/create-after-delete", Func: raceCreateAfterDelete},
		{Name: "contention/compare-and-swap", Func: raceCompareAndSwap},
		{Name: "contention/compare-and-delete", Func: raceCompareAndDelete},
		{Name: "contention/replace-against-delete", Func: raceReplaceAgainstDelete},
		{Name: "contention/delete-against-create", Func: raceDeleteAgainstCreate},
	}
}

// race is one round: many clients, one key.
type race struct {
	key     string
	content []string // what client i writes, unique; empty for a client that deletes
	initial string   // content before the race, empty if absent
	errs    []error  // what client i was told
	final   string   // content after the race, empty if absent
}

// raceCreate: many create, the key is free.
func raceCreate(ctx context.Context, p *Probe) error {
	return p.rounds(func(round int) error {
		r := p.newRace(round, allWrite)
		if err := p.start(ctx, r, bucket.IfAbsent); err != nil {
			return err
		}
		return r.oneWinner(statelatch.ErrPreconditionFailed)
	})
}

// raceCreateAfterDelete: many create where an object was just deleted, so that a versioned bucket shows a marker.
func raceCreateAfterDelete(ctx context.Context, p *Probe) error {
	return p.rounds(func(round int) error {
		r := p.newRace(round, allWrite)
		err := p.prepare(r, func() error {
			etag, err := p.seed(ctx, r)
			if err != nil {
				return err
			}
			r.initial = ""
			_, err = p.Bucket.Delete(ctx, r.key, bucket.DeleteOptions{If: bucket.IfMatch(etag)})
			return err
		})
		if err != nil {
			return err
		}
		if err := p.start(ctx, r, bucket.IfAbsent); err != nil {
			return err
		}
		return r.oneWinner(statelatch.ErrPreconditionFailed)
	})
}

// raceCompareAndSwap: many replace the same version.
func raceCompareAndSwap(ctx context.Context, p *Probe) error {
	return p.raceOnETag(ctx, allWrite, statelatch.ErrPreconditionFailed)
}

// raceCompareAndDelete: many delete the same version.
func raceCompareAndDelete(ctx context.Context, p *Probe) error {
	return p.raceOnETag(ctx, allDelete, statelatch.ErrPreconditionFailed, statelatch.ErrNotFound)
}

// raceReplaceAgainstDelete: half replace and half delete the same version, as a takeover against a release does.
func raceReplaceAgainstDelete(ctx context.Context, p *Probe) error {
	return p.raceOnETag(ctx, everySecondDeletes, statelatch.ErrPreconditionFailed, statelatch.ErrNotFound)
}

func (p *Probe) raceOnETag(ctx context.Context, deletes func(client int) bool, losers ...error) error {
	return p.rounds(func(round int) error {
		r := p.newRace(round, deletes)
		var etag string
		err := p.prepare(r, func() (err error) {
			etag, err = p.seed(ctx, r)
			return err
		})
		if err != nil {
			return err
		}
		if err := p.start(ctx, r, bucket.IfMatch(etag)); err != nil {
			return err
		}
		return r.oneWinner(losers...)
	})
}

// raceDeleteAgainstCreate: half delete the same version and half create, as releases and
// acquisitions do. One delete wins; then one create may, and its object must survive the other deletes.
func raceDeleteAgainstCreate(ctx context.Context, p *Probe) error {
	return p.rounds(func(round int) error {
		r := p.newRace(round, everySecondDeletes)
		var etag string
		err := p.prepare(r, func() (err error) {
			etag, err = p.seed(ctx, r)
			return err
		})
		if err != nil {
			return err
		}
		err = p.run(ctx, r, func(client int) bucket.Condition {
			if r.content[client] == "" {
				return bucket.IfMatch(etag)
			}
			return bucket.IfAbsent
		})
		if err != nil {
			return err
		}
		return r.handedOver()
	})
}

func allWrite(int) bool                  { return false }
func allDelete(int) bool                 { return true }
func everySecondDeletes(client int) bool { return client%2 == 1 }

func (p *Probe) rounds(round func(n int) error) error {
	for n := range p.Rounds {
		if err := round(n); err != nil {
			return fmt.Errorf("round %d of %d with %d clients: %w", n, p.Rounds, p.Clients, err)
		}
	}
	return nil
}

func (p *Probe) newRace(round int, deletes func(client int) bool) *race {
	r := &race{key: p.key(fmt.Sprintf("round-%04d", round)), content: make([]string, p.Clients)}
	for client := range r.content {
		if !deletes(client) {
			r.content[client] = fmt.Sprintf("round %d, client %d", round, client)
		}
	}
	return r
}

// prepare sets the scene. Where a network leaves an outcome open it starts over on another
// key, so that no late request can reach into the race.
func (p *Probe) prepare(r *race, scene func() error) error {
	key := r.key
	for try := range patience {
		r.key = fmt.Sprintf("%s-%d", key, try)
		err := scene()
		if err == nil || !errors.Is(err, statelatch.ErrAmbiguous) && !errors.Is(err, statelatch.ErrConflict) {
			return err
		}
	}
	return fmt.Errorf("prepare a race: %d keys in a row met %w", patience, statelatch.ErrAmbiguous)
}

// seed writes the object that clients race for.
func (p *Probe) seed(ctx context.Context, r *race) (etag string, err error) {
	r.initial = "initial " + r.key
	obj, err := p.Bucket.Put(ctx, r.key, body(r.initial), bucket.PutOptions{If: bucket.IfAbsent})
	return obj.ETag, err
}

func (p *Probe) start(ctx context.Context, r *race, cond bucket.Condition) error {
	return p.run(ctx, r, func(int) bucket.Condition { return cond })
}

// run lets all clients go at once and looks at what is left when all are done.
func (p *Probe) run(ctx context.Context, r *race, cond func(client int) bucket.Condition) error {
	r.errs = make([]error, len(r.content))
	gate := make(chan struct{})
	var clients sync.WaitGroup
	for client, content := range r.content {
		clients.Go(func() {
			<-gate
			r.errs[client] = p.attempt(ctx, r.key, content, cond(client))
		})
	}
	close(gate)
	clients.Wait()
	if err := ctx.Err(); err != nil {
		return err
	}
	var err error
	r.final, err = p.final(ctx, r.key)
	return err
}

// attempt is one client's try. A conflict changed nothing, so it tries again.
func (p *Probe) attempt(ctx context.Context, key, content string, cond bucket.Condition) (err error) {
	for range patience {
		if content == "" {
			_, err = p.Bucket.Delete(ctx, key, bucket.DeleteOptions{If: cond})
		} else {
			_, err = p.Bucket.Put(ctx, key, body(content), bucket.PutOptions{If: cond})
		}
		if !errors.Is(err, statelatch.ErrConflict) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// final reads what a race left behind, empty if nothing.
func (p *Probe) final(ctx context.Context, key string) (content string, err error) {
	for range patience {
		_, content, err = p.get(ctx, key, "")
		switch {
		case err == nil:
			return content, nil
		case errors.Is(err, statelatch.ErrNotFound):
			return "", nil
		case !errors.Is(err, statelatch.ErrThrottled) && !errors.Is(err, statelatch.ErrBroken):
			return "", err
		}
	}
	return "", fmt.Errorf("read what the race left: %w", err)
}

// tally sorts the clients of one kind (deleting or writing) by what they were told, and
// fails on an answer that nobody may get here.
type tally struct {
	winners []int
	unknown []int // told that the outcome is not known
	refused []int // told that the condition does not hold
}

func (r *race) count(of func(client int) bool, losers []error) (tally, error) {
	var t tally
	for client, err := range r.errs {
		if !of(client) {
			continue
		}
		switch kinds := kindsOf(err); {
		case err == nil:
			t.winners = append(t.winners, client)
		case len(kinds) != 1:
			return t, fmt.Errorf("client %d got an error of kinds %v, want exactly one: %w", client, kinds, err)
		case errors.Is(err, statelatch.ErrAmbiguous):
			t.unknown = append(t.unknown, client)
		case slices.Contains(losers, kinds[0]):
			t.refused = append(t.refused, client)
		case !errors.Is(err, statelatch.ErrConflict):
			return t, fmt.Errorf("client %d got %w, want success or one of %v", client, err, losers)
		}
	}
	if len(t.winners) > 1 {
		return t, fmt.Errorf("clients %v all won, want exactly one winner", t.winners)
	}
	return t, nil
}

// oneWinner expects that exactly one client won and that its write is what is left.
func (r *race) oneWinner(losers ...error) error {
	t, err := r.count(func(int) bool { return true }, losers)
	if err != nil {
		return err
	}
	return r.explained(t)
}

// explained expects that what is left is what the winner wrote, or of a client that does not
// know. If nobody did anything, nobody may have been refused.
func (r *race) explained(t tally) error {
	var authors []int
	for _, client := range slices.Concat(t.winners, t.unknown) {
		if r.content[client] == r.final && r.final != r.initial {
			authors = append(authors, client)
		}
	}
	switch {
	case len(t.winners) == 1 && !slices.Contains(authors, t.winners[0]):
		return fmt.Errorf("client %d won, but %s is left, want what it wrote or did: %s", t.winners[0], left(r.final),
			left(r.content[t.winners[0]]))
	case len(t.winners) == 0 && len(authors) == 0 && r.final != r.initial:
		return fmt.Errorf("nobody won, but %s is left, want %s as before", left(r.final), left(r.initial))
	case len(t.winners) == 0 && len(authors) == 0 && len(t.refused) > 0:
		return fmt.Errorf("nobody won, and clients %v were refused although the condition held, want exactly one winner",
			t.refused)
	case len(t.winners) == 0 && len(t.unknown) == 0:
		return fmt.Errorf("nobody won: all met conflicts for %d tries, want exactly one winner", patience)
	}
	return nil
}

// handedOver judges a race of deletes against creates.
func (r *race) handedOver() error {
	deletes, err := r.count(func(client int) bool { return r.content[client] == "" },
		[]error{statelatch.ErrPreconditionFailed, statelatch.ErrNotFound})
	if err != nil {
		return fmt.Errorf("deleting %w", err)
	}
	creates, err := r.count(func(client int) bool { return r.content[client] != "" },
		[]error{statelatch.ErrPreconditionFailed})
	if err != nil {
		return fmt.Errorf("creating %w", err)
	}
	if r.final == "" || r.final == r.initial {
		if len(creates.winners) > 0 {
			return fmt.Errorf("client %d created the object, but %s is left: a delete on another ETag removed it",
				creates.winners[0], left(r.final))
		}
		return r.explained(deletes)
	}
	if len(deletes.winners)+len(deletes.unknown) == 0 {
		return fmt.Errorf("%s is left although no delete won, want the create refused", left(r.final))
	}
	return r.explained(creates)
}

// left names a content in a message.
func left(content string) string {
	if content == "" {
		return "nothing"
	}
	return brief(content)
}
