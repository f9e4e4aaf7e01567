package migrate

import (
	"context"
	"sync"
)

// portion is how many steps a worker takes at once.
const portion = 32

// reader takes the steps of a scan, each about one file, by several workers. What they find comes together in the order
// of the steps.
type reader struct {
	ctx     context.Context
	into    *scanner
	steps   []func(*scanner) // of the next portion
	parts   []*scanner       // what each portion found
	todo    chan func()
	workers sync.WaitGroup
}

func newReader(ctx context.Context, into *scanner, workers int) *reader {
	r := &reader{ctx: ctx, into: into, todo: make(chan func())}
	for range workers {
		r.workers.Go(func() {
			for do := range r.todo {
				do()
			}
		})
	}
	return r
}

// do takes one more step, some time before finish returns. It is given a scanner of its portion.
func (r *reader) do(step func(*scanner)) {
	if r.steps = append(r.steps, step); len(r.steps) == portion {
		r.send()
	}
}

func (r *reader) send() {
	part, steps := newScanner(r.into.root, r.into.tree.Dir), r.steps
	r.parts, r.steps = append(r.parts, part), nil
	r.todo <- func() {
		for _, step := range steps {
			if r.ctx.Err() == nil {
				step(part)
			}
		}
	}
}

// finish waits for all steps, and puts what they found together.
func (r *reader) finish() {
	r.send()
	close(r.todo)
	r.workers.Wait()
	for _, part := range r.parts {
		r.into.take(part)
	}
}

// take adds what the scan of a part found, as if it had been found here.
func (s *scanner) take(part *scanner) {
	s.tree.Findings = append(s.tree.Findings, part.tree.Findings...)
	s.maybe = append(s.maybe, part.maybe...)
	for real, src := range part.tree.sources {
		if s.tree.sources[real] == nil {
			s.tree.sources[real] = src
		}
	}
	for dir, sources := range part.dirs {
		s.dirs[dir] = append(s.dirs[dir], sources...)
	}
	for dir, pins := range part.pins {
		for _, p := range pins {
			s.keepPin(dir, p)
		}
	}
	for _, n := range part.named {
		s.keepNaming(n)
	}
}
