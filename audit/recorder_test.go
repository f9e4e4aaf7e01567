package audit_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/statelatch/statelatch/audit"
)

// memory is a sink that keeps events, after what it is told to do first.
type memory struct {
	name   string
	first  func(context.Context, audit.Event) error
	events []audit.Event
}

func (m *memory) String() string { return m.name }

func (m *memory) Append(ctx context.Context, e audit.Event) error {
	if m.first != nil {
		if err := m.first(ctx, e); err != nil {
			return err
		}
	}
	m.events = append(m.events, e)
	return nil
}

func (m *memory) outcomes() (all []audit.Outcome) {
	for _, e := range m.events {
		all = append(all, e.Outcome)
	}
	return all
}

var errFull = errors.New("it is full")

// An act waits for no sink, events keep their order, and all are stored before the end.
func TestRecorder_Record(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		slow := &memory{name: "slow", first: func(context.Context, audit.Event) error { time.Sleep(time.Second); return nil }}
		broken := &memory{name: "broken", first: func(context.Context, audit.Event) error { return errFull }}
		r := audit.NewRecorder(t.Context(), audit.RecorderOptions{
			Sinks: []audit.Sink{slow, broken}, Base: audit.Event{Who: "ann", Tool: "test"},
		})
		r.Miss("s3://elsewhere", errFull)
		start := time.Now()
		for _, o := range []audit.Outcome{audit.Started, audit.Unknown, audit.Released} {
			r.Record(audit.Event{Action: audit.Run, Outcome: o, Ref: "s3://b/k"})
			if err := r.Intend(t.Context(), audit.Event{Action: audit.Run}); err != nil { // it is not required
				t.Error(err)
			}
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("recording took %v, want no wait", took)
		}
		missed := r.Close(nil)
		if got, want := slow.outcomes(), []audit.Outcome{audit.Started, audit.Unknown, audit.Released}; !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		for _, e := range slow.events {
			if e.Who != "ann" || e.Tool != "test" || e.ID == "" || e.Time.IsZero() {
				t.Errorf("got %+v, want what all events have", e)
			}
		}
		want := []audit.Missed{{Location: "broken", Count: 3, First: errFull}, {Location: "s3://elsewhere", Count: 1, First: errFull}}
		if !slices.Equal(missed, want) {
			t.Errorf("got %v missed, want %v", missed, want)
		}
	})
}

// What is required is stored before it is done, or refused; and an intent that nothing followed is ended.
func TestRecorder_Intend(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		full := false
		sink := &memory{name: "sink", first: func(context.Context, audit.Event) error {
			if full {
				return errFull
			}
			return nil
		}}
		r := audit.NewRecorder(t.Context(), audit.RecorderOptions{Sinks: []audit.Sink{sink}, Required: true})
		done, left := audit.Event{Action: audit.Push, Ref: "s3://b/done"}, audit.Event{Action: audit.Push, Ref: "s3://b/left"}
		for _, e := range []audit.Event{done, left} {
			n := len(sink.events)
			if err := r.Intend(t.Context(), e); err != nil || len(sink.events) != n+1 {
				t.Errorf("got %v and %d events, want it stored", err, len(sink.events))
			}
		}
		done.Outcome = audit.OK
		r.Record(done)
		synctest.Wait()
		full = true
		if err := r.Intend(t.Context(), audit.Event{Action: audit.GC, Ref: "s3://b"}); !errors.Is(err, errFull) {
			t.Errorf("got %v, want %v", err, errFull)
		}
		full = false
		if missed := r.Close(errors.Join(errors.New("no"), errors.New("way"))); len(missed) > 0 {
			t.Errorf("got %v missed, want none: an intent that was refused is no act", missed)
		}
		want := map[string]audit.Outcome{"s3://b/done": audit.OK, "s3://b/left": audit.Failed, "s3://b": audit.Failed}
		for _, e := range sink.events[2:] {
			if e.Outcome != want[e.Ref] || e.Outcome == audit.Failed && e.Detail != "no; way" {
				t.Errorf("%s: got %v, %q", e.Ref, e.Outcome, e.Detail)
			}
			delete(want, e.Ref)
		}
		if len(want) > 0 {
			t.Errorf("nothing about %v", want)
		}
	})
}

// A sink that hangs keeps neither who waits for an intent beyond their context, nor anybody for ever at the end.
func TestRecorder_SinkHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hung := &memory{name: "hung", first: func(ctx context.Context, _ audit.Event) error { <-ctx.Done(); return ctx.Err() }}
		r := audit.NewRecorder(t.Context(), audit.RecorderOptions{Sinks: []audit.Sink{hung}, Required: true})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := r.Intend(ctx, audit.Event{Action: audit.Push, Ref: "s3://b/k"}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want the caller's deadline", err)
		}
		for range 100 {
			r.Record(audit.Event{Action: audit.Lock, Outcome: audit.OK, Ref: "s3://b/k"})
		}
		start := time.Now()
		missed := r.Close(nil)
		if took := time.Since(start); took > 21*time.Second || len(missed) != 1 || missed[0].Count < 100 {
			t.Errorf("after %v: %v", took, missed)
		}
	})
}

// A program that records nothing need not ask whether it does.
func TestRecorder_Nil(t *testing.T) {
	t.Parallel()
	var r *audit.Recorder
	r.Record(audit.Event{})
	if err := r.Intend(t.Context(), audit.Event{}); err != nil || r.Close(nil) != nil {
		t.Errorf("got %v, want nothing", err)
	}
}
