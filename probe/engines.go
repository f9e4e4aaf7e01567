package probe

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/statelatch/statelatch"
)

// NameEngines is the check that the engines can write, too.
const NameEngines = "engine-writes"

// Engine is a program other than ours that writes states and locks in the bucket in its own way.
type Engine struct {
	Name  string // for people
	Write Write  // as it does by default
	Cures []Cure // to try where Write fails, in their order; none: nothing helps
}

// Write stores content under key, on the condition that nothing is there where create is set.
type Write func(ctx context.Context, key, content string, create bool) (version string, err error)

// Cure is another way in which an engine can be made to write, and how.
type Cure struct {
	How   string // for people: what to configure
	Write Write  // as it does then
}

// enginesCheck asks whether the engines can write a state and take a lock. It decides about no tier.
func enginesCheck(engines []Engine) check {
	c := check{name: NameEngines, after: []string{nameETag, nameCreate}}
	var advice []string
	c.run = func(ctx context.Context, p *prober, name string) (string, error) {
		advice = nil
		var names []string
		var failed error
		for i, e := range engines {
			names = append(names, e.Name)
			err := p.writesAs(ctx, e.Write, fmt.Sprintf("%s-%d", name, i))
			f, ok := errors.AsType[failure](err)
			if err != nil && !ok {
				return "", err
			}
			if err == nil {
				continue
			}
			if failed == nil {
				failed = failure{evidence: e.Name + ": " + f.evidence}
			}
			said := e.Name + " can neither lock nor write here as it is configured."
			for j, cure := range e.Cures {
				if p.writesAs(ctx, cure.Write, fmt.Sprintf("%s-%d-%d", name, i, j)) == nil {
					said = fmt.Sprintf("%s can neither lock nor write here unless it is told to send no checksums: set %s.", e.Name,
						cure.How)
					break
				}
			}
			advice = append(advice, said)
		}
		return strings.Join(names, " and ") + " can lock and write as they are configured", failed
	}
	c.advice = func(bool) string { return strings.Join(advice, " ") }
	return c
}

// writesAs writes a state and takes a lock, twice.
func (p *prober) writesAs(ctx context.Context, write Write, name string) error {
	put := func(key, content string, create bool) error {
		p.requests.Add(1)
		version, err := write(ctx, key, content, create)
		p.note(key, version, err)
		return err
	}
	state, lock := p.key(name+"-state"), p.key(name+"-lock")
	if err := mustAccept(put(state, "state", false), "a state"); err != nil {
		return err
	}
	if err := p.holds(ctx, state, "state", "a write of a state"); err != nil {
		return err
	}
	if err := mustAccept(put(lock, "first", true), "a lock"); err != nil {
		return err
	}
	if err := mustRefuse(put(lock, "second", true), "a second lock"); err != nil {
		return err
	}
	return p.holds(ctx, lock, "first", "a lock that was tried twice")
}

// cannotStore is a store that refuses every write as it is asked for, without a condition, too. That says nothing about
// its conditions.
type cannotStore struct{ refusal error }

func (e cannotStore) Error() string {
	return "the store cannot store objects the way they are asked for: " + e.refusal.Error()
}

func (e cannotStore) Unwrap() []error { return []error{statelatch.ErrUnsupported, e.refusal} }
