package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/audit"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/s3bucket"
	"github.com/statelatch/statelatch/state"
	"github.com/urfave/cli/v3"
)

// The variables that do what -audit and -audit-required do, and the key that webhooks are signed with.
const (
	envAudit         = "STATELATCH_AUDIT"
	envAuditRequired = "STATELATCH_AUDIT_REQUIRED"
	envAuditKey      = "STATELATCH_AUDIT_KEY"
)

const (
	// eventBudget bounds the storing of one event, in all locations.
	eventBudget = 10 * time.Second
	// closeBudget bounds how long a command waits at its end for what is not stored yet.
	closeBudget = 20 * time.Second
)

// recordedCommands are the commands that change something, with the act that they stand for.
var recordedCommands = map[string]audit.Action{
	"lock": audit.Lock, "unlock": audit.Unlock, "force-unlock": audit.ForceUnlock, "run": audit.Run,
	"push": audit.Push, "rollback": audit.Rollback, "workspace new": audit.WorkspaceNew, "workspace delete": audit.WorkspaceDelete,
	"bucket init": audit.BucketInit, "gc": audit.GC, "digest fix": audit.DigestFix, "migrate clean": audit.MigrateClean,
}

// recorded lets every command below c that changes something record what it did, where -audit asks for it.
func recorded(term terminal, c *cli.Command, path ...string) {
	if action, ok := recordedCommands[strings.Join(path, " ")]; ok {
		c.Flags = append(c.Flags,
			&cli.StringFlag{Name: "audit", Usage: "record what is done: s3://BUCKET/PREFIX, file:PATH, syslog:, https://...; commas between several"},
			&cli.BoolFlag{Name: "audit-required", Usage: "change nothing unless that it is about to be done was recorded before"})
		act := c.Action
		c.Action = func(ctx context.Context, c *cli.Command) error {
			r, err := openRecorder(ctx, c, term, action)
			if err != nil {
				return err
			}
			if r == nil {
				return act(ctx, c)
			}
			err = act(context.WithValue(ctx, recorderKey{}, r), c)
			r.close(err)
			return err
		}
	}
	for _, sub := range c.Commands {
		recorded(term, sub, append(slices.Clone(path), sub.Name)...)
	}
}

type recorderKey struct{}

// recorderOf is the recorder of the command that ctx belongs to, nil if nothing is recorded.
func recorderOf(ctx context.Context) *recorder {
	r, _ := ctx.Value(recorderKey{}).(*recorder)
	return r
}

// recorder stores what one command does. Events are stored in the background in the order in which they are recorded:
// an act, and above all a release, never waits for one. Its methods may be called on nil, and then do nothing.
type recorder struct {
	term     terminal
	sinks    []audit.Sink
	required bool
	action   audit.Action
	base     audit.Event // what all events of the command have in common
	cancel   context.CancelFunc
	done     chan struct{} // everything is stored, or was tried
	more     chan struct{} // has a value when there is something new in the queue

	mu     sync.Mutex // guards what follows
	queue  []entry
	closed bool
	open   map[string]audit.Event  // intents of which nothing was recorded since, by action and ref
	states map[string]state.Report // what a run did to its states, by ref
	failed map[string]*unstored    // by location
}

// entry is an event to store. Who waits for it is told how that went.
type entry struct {
	event audit.Event
	reply chan<- error // has room; nil: nobody waits
}

// unstored is what a location did not take.
type unstored struct {
	count int
	first error
}

// openRecorder makes the recorder that the flags and the environment ask for; nil if they ask for none.
func openRecorder(ctx context.Context, c *cli.Command, term terminal, action audit.Action) (*recorder, error) {
	locations := auditLocations(c.String("audit"), term)
	required := c.Bool("audit-required")
	if s := term.getenv(envAuditRequired); s != "" && !required {
		var err error
		if required, err = strconv.ParseBool(s); err != nil {
			return nil, usageError{fmt.Errorf("%s=%q: want true or false", envAuditRequired, s)}
		}
	}
	switch {
	case len(locations) == 0 && required:
		return nil, usageError{fmt.Errorf("-audit-required, but there is no location to record to: set -audit or %s", envAudit)}
	case len(locations) == 0:
		return nil, nil
	}
	req := requestOptions{who: c.String("who"), reason: c.String("reason")}.request(term, "")
	r := &recorder{
		term: term, required: required, action: action,
		base: audit.Event{Who: req.Who, Reason: req.Reason, Client: req.Client, Run: req.Run, Tool: req.Version},
		done: make(chan struct{}), more: make(chan struct{}, 1),
		open: map[string]audit.Event{}, states: map[string]state.Report{}, failed: map[string]*unstored{},
	}
	key := []byte(term.getenv(envAuditKey))
	if _, err := audit.ParseKeys(key); err != nil {
		return nil, usageError{fmt.Errorf("%s: %w", envAuditKey, err)}
	}
	for _, location := range locations {
		sink, err := audit.Open(location, key, func(name string) (bucket.Bucket, error) {
			return openAuditBucket(ctx, recordingTarget(c, term, name), term, name)
		})
		switch {
		case err == nil:
			r.sinks = append(r.sinks, sink)
		case errors.Is(err, statelatch.ErrInvalid), errors.Is(err, statelatch.ErrUnsupported):
			return nil, usageError{fmt.Errorf("-audit: %w", err)}
		case required:
			return nil, refusedByAudit(err)
		default:
			r.missed(location, err) // an s3:// one: the others open without a connection
		}
	}
	ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	go r.store(ctx)
	return r, nil
}

// auditLocations are those that the flag names, else the environment.
func auditLocations(flag string, term terminal) []string {
	if flag == "" {
		flag = term.getenv(envAudit)
	}
	var locations []string
	for location := range strings.SplitSeq(flag, ",") {
		if location = strings.TrimSpace(location); location != "" {
			locations = append(locations, location)
		}
	}
	return locations
}

// recordingTarget says how a command reaches its bucket, and so the log's: a log in a bucket is at the same store.
func recordingTarget(c *cli.Command, term terminal, name string) targetOptions {
	o, args := targetOf(c, ""), c.Args().Slice()
	o.owner = "" // of the states; a log belongs to another account where it is kept from those who write them
	isRef := func(arg string) bool { return strings.HasPrefix(arg, "s3://") }
	if c.Name != "run" {
		if slices.ContainsFunc(args, isRef) {
			o.ref = "s3://" + name
		}
		return o
	}
	if len(args) > 0 && isRef(args[0]) {
		o.ref = "s3://" + name
	} else if len(args) > 0 {
		if call, ok := engineCall(args, term); ok {
			o.chdir = call.Dir(o.chdir)
		}
	}
	return o
}

// openAuditBucket connects to the bucket of a log.
func openAuditBucket(ctx context.Context, o targetOptions, term terminal, name string) (bucket.Bucket, error) {
	_, backend, err := o.scope(ctx, term)
	if err != nil {
		return nil, err
	}
	if err := o.trust(ctx, term, backend); err != nil {
		return nil, err
	}
	b, err := s3bucket.Open(ctx, name, backend.S3)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// refusedByAudit is why nothing is done. Its exit code says nothing of locks, whatever the location said.
func refusedByAudit(err error) error {
	const text = "it could not be recorded, and -audit-required is set, so nothing was done"
	if errors.Is(err, statelatch.ErrDenied) {
		return fmt.Errorf("%s: %w", text, err)
	}
	return fmt.Errorf("%s: %v", text, err) //nolint:errorlint // see above
}

// store stores what is queued until the recorder is closed and nothing is left.
func (r *recorder) store(ctx context.Context) {
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

// append stores one event in all locations.
func (r *recorder) append(ctx context.Context, e audit.Event) error {
	ctx, cancel := context.WithTimeout(ctx, eventBudget)
	defer cancel()
	errs := make([]error, len(r.sinks))
	var running sync.WaitGroup
	for i, sink := range r.sinks {
		running.Go(func() {
			if errs[i] = sink.Append(ctx, e); errs[i] != nil && e.Outcome != audit.Intent {
				r.missed(sink.String(), errs[i])
			}
		})
	}
	running.Wait()
	return errors.Join(errs...)
}

func (r *recorder) missed(location string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	u := r.failed[location]
	if u == nil {
		u = &unstored{first: err}
		r.failed[location] = u
	}
	u.count++
}

// put queues an event.
func (r *recorder) put(e entry) {
	b := r.base
	e.event.ID, e.event.Time = audit.NewID(), time.Now()
	e.event.Who, e.event.Client, e.event.Run, e.event.Tool = b.Who, b.Client, b.Run, b.Tool
	e.event.Reason = b.Reason
	r.mu.Lock()
	key := string(e.event.Action) + " " + e.event.Ref
	if e.event.Outcome == audit.Intent {
		r.open[key] = e.event
	} else {
		delete(r.open, key)
	}
	r.queue = append(r.queue, e)
	r.mu.Unlock()
	r.wake()
}

func (r *recorder) wake() {
	select {
	case r.more <- struct{}{}:
	default: // it is awake
	}
}

// record notes what has happened.
func (r *recorder) record(e audit.Event) {
	if r != nil {
		r.put(entry{event: e})
	}
}

// intend stores what is about to be done, where that is required, and refuses it if it cannot be stored.
func (r *recorder) intend(ctx context.Context, e audit.Event) error {
	if r == nil || !r.required {
		return nil
	}
	e.Outcome = audit.Intent
	reply := make(chan error, 1)
	r.put(entry{e, reply})
	select {
	case err := <-reply:
		if err != nil {
			return refusedByAudit(err)
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends what is left open, waits for what is not stored yet, and tells what could not be. It changes nothing about
// how the command ended, which is err.
func (r *recorder) close(err error) {
	r.mu.Lock()
	open := slices.Collect(maps.Values(r.open))
	r.mu.Unlock()
	for _, e := range open {
		e.Outcome, e.Detail = audit.Failed, ""
		if err != nil {
			e.Detail = oneLine(err)
		}
		r.record(e)
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.wake()
	timer := time.AfterFunc(closeBudget, r.cancel)
	<-r.done
	timer.Stop()
	r.cancel()
	for _, location := range slices.Sorted(maps.Keys(r.failed)) {
		u := r.failed[location]
		r.term.say("Warning: %s may be missing from the audit log %s: %s\n", count(u.count, "event"), statelatch.Printable(location), oneLine(u.first))
	}
}
