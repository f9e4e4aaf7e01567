package audit

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/statelatch/statelatch/state"
)

const (
	// eventBudget bounds the storing of one event, in all sinks.
	eventBudget = 10 * time.Second
	// closeBudget bounds how long Close waits for what is not stored yet.
	closeBudget = 20 * time.Second
)

// Recorder stores what one program does. Events are stored in the background in the order in which they are recorded:
// an act, and above all a release, never waits for one. Its methods may be called from several goroutines, and on nil,
// which records nothing.
type Recorder struct {
	sinks    []Sink
	required bool
	refused  func(error) error
	action   Action
	base     Event
	cancel   context.CancelFunc
	done     chan struct{} // everything is stored, or was tried
	more     chan struct{} // has a value when there is something new in the queue

	mu     sync.Mutex // guards what follows
	queue  []entry
	closed bool
	open   map[string]Event // intents of which nothing was recorded since, by action and ref
	missed map[string]*Missed
	states map[string]state.Report // what a run did to its states, by ref
}

// RecorderOptions say what a recorder stores, and where.
type RecorderOptions struct {
	Sinks []Sink // where every event is stored; none: nothing is recorded
	// Required: Intend refuses what cannot be recorded before it is done. Otherwise it does nothing.
	Required bool
	// Refused words why Intend refuses; nil: the sinks' errors do.
	Refused func(error) error
	// Action is what the program does.
	Action Action
	// Base is what all events have in common: Client and Tool; and Who, Run and Reason where an event has none of its own.
	Base Event
}

// Missed is what a sink did not take.
type Missed struct {
	Location string // the sink's name
	Count    int    // of events that may be missing there
	First    error  // why the first of them is
}

// entry is an event to store. Who waits for it is told how that went.
type entry struct {
	event Event
	reply chan<- error // has room; nil: nobody waits
}

// NewRecorder starts a recorder. It outlasts ctx, whose values it uses, and ends with Close.
func NewRecorder(ctx context.Context, opts RecorderOptions) *Recorder {
	r := &Recorder{
		sinks: opts.Sinks, required: opts.Required, refused: opts.Refused, action: opts.Action, base: opts.Base,
		done: make(chan struct{}), more: make(chan struct{}, 1),
		open: map[string]Event{}, missed: map[string]*Missed{},
		states: map[string]state.Report{},
	}
	ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go r.store(ctx)
	return r
}

// store stores what is queued until the recorder is closed and nothing is left.
func (r *Recorder) store(ctx context.Context) {
	defer close(r.done)
	for {
		r.mu.Lock()
		queue, closed := r.queue, r.closed
		r.queue = nil
		r.mu.Unlock()
		for _, e := range queue {
			err := r.append(ctx, e.event)
			if e.reply != nil {
				e.reply <- err
			}
		}
		if len(queue) == 0 {
			if closed {
				return
			}
			<-r.more
		}
	}
}

// append stores one event in all sinks.
func (r *Recorder) append(ctx context.Context, e Event) error {
	ctx, cancel := context.WithTimeout(ctx, eventBudget)
	defer cancel()
	errs := make([]error, len(r.sinks))
	var running sync.WaitGroup
	for i, sink := range r.sinks {
		running.Go(func() {
			if errs[i] = sink.Append(ctx, e); errs[i] != nil && e.Outcome != Intent {
				r.Miss(sink.String(), errs[i])
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

// Miss notes that an event may be missing at a location that is none of the sinks, or in one of them.
func (r *Recorder) Miss(location string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.missed[location]
	if m == nil {
		m = &Missed{Location: location, First: err}
		r.missed[location] = m
	}
	m.Count++
}

// put queues an event.
func (r *Recorder) put(e entry) {
	b := r.base
	e.event.ID, e.event.Time = NewID(), time.Now()
	e.event.Who, e.event.Run = cmp.Or(e.event.Who, b.Who), cmp.Or(e.event.Run, b.Run)
	e.event.Reason = cmp.Or(e.event.Reason, b.Reason)
	e.event.Client, e.event.Tool = b.Client, b.Tool
	r.mu.Lock()
	key := string(e.event.Action) + " " + e.event.Ref
	if e.event.Outcome == Intent {
		r.open[key] = e.event
	} else {
		delete(r.open, key)
	}
	r.queue = append(r.queue, e)
	r.mu.Unlock()
	r.wake()
}

func (r *Recorder) wake() {
	select {
	case r.more <- struct{}{}:
	default: // it is awake
	}
}

// act is what the program does; empty if that is not known.
func (r *Recorder) act() Action {
	if r == nil {
		return ""
	}
	return r.action
}

// Record notes what has happened, with a time and an ID of its own and what all events have in common.
func (r *Recorder) Record(e Event) {
	if r != nil {
		r.put(entry{event: e})
	}
}

// Intend stores what is about to be done, where that is required. Unless it returns nil, nothing may be done. It ends
// with ctx.
func (r *Recorder) Intend(ctx context.Context, e Event) error {
	if r == nil || !r.required {
		return nil
	}
	e.Outcome = Intent
	reply := make(chan error, 1)
	r.put(entry{e, reply})
	select {
	case err := <-reply:
		if err != nil && ctx.Err() == nil && r.refused != nil {
			return r.refused(err)
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Close ends what is left open, records that nothing followed an intent, because of err, and waits up to 20 seconds for
// what is not stored yet. It returns what was missed, by location. It is called once.
func (r *Recorder) Close(err error) []Missed {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	open := slices.Collect(maps.Values(r.open))
	r.mu.Unlock()
	for _, e := range open {
		e.Outcome, e.Detail = Failed, ""
		if err != nil {
			e.Detail = oneLine(err)
		}
		r.Record(e)
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wake()
	timer := time.AfterFunc(closeBudget, r.cancel)
	<-r.done
	timer.Stop()
	r.cancel()
	var all []Missed
	for _, location := range slices.Sorted(maps.Keys(r.missed)) {
		all = append(all, *r.missed[location])
	}
	return all
}
