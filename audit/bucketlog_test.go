package audit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/statelatch/statelatch"
	"github.com/statelatch/statelatch/bucket"
	"github.com/statelatch/statelatch/bucket/faultbucket"
	"github.com/statelatch/statelatch/bucket/membucket"
)

func newLog(t *testing.T, b bucket.Bucket) *BucketLog {
	t.Helper()
	l, err := NewBucketLog(b, "audit")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// event is a small act; what tells it apart is its ID.
func event(id string) Event {
	return Event{ID: id, Time: time.Now(), Action: Lock, Outcome: OK, Ref: "s3://b/k", Who: "tester"}
}

func read(t *testing.T, l Log) (Contents, Report) {
	t.Helper()
	c, err := l.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return c, Verify(c)
}

// ids are those of the stored events, in their order.
func ids(t *testing.T, c Contents) []string {
	t.Helper()
	var all []string
	for _, r := range c.Records {
		e, err := Parse(r.Raw)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e.ID)
	}
	return all
}

// wantOnce checks that a log is whole and has each event exactly once.
func wantOnce(t *testing.T, l Log, want ...string) {
	t.Helper()
	c, r := read(t, l)
	got := ids(t, c)
	slices.Sort(got)
	slices.Sort(want)
	if len(r.Findings) != 0 || !slices.Equal(got, want) {
		t.Errorf("%s: got events %q, findings %v; want each of %q once and nothing found", l, got, r.Findings, want)
	}
}

func TestBucketLog_Append_Concurrent(t *testing.T) {
	t.Parallel()
	for _, versioned := range []bool{false, true} {
		store := membucket.New("b", membucket.Options{Versioned: versioned})
		const writers, each = 32, 4
		var want []string
		var running sync.WaitGroup
		for w := range writers {
			for i := range each {
				want = append(want, fmt.Sprintf("%d-%d", w, i))
			}
			running.Go(func() {
				l := newLog(t, store) // as another process would
				for i := range each {
					if err := l.Append(t.Context(), event(fmt.Sprintf("%d-%d", w, i))); err != nil {
						t.Error(err)
					}
				}
			})
		}
		running.Wait()
		l := newLog(t, store)
		wantOnce(t, l, want...)
		if _, r := read(t, l); r.Last.Seq != writers*each || r.Behind != 0 {
			t.Errorf("got last event %d, head %d behind; want %d and a head that covers all", r.Last.Seq, r.Behind, writers*each)
		}
	}
}

// An event whose create got no answer is stored once, and never lost if Append said so.
func TestBucketLog_Append_Faults(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]faultbucket.Fault{
		"lost request": faultbucket.LoseRequest(), "lost reply": faultbucket.LoseReply(), "resend": faultbucket.Resend(),
		"duplicate": faultbucket.Duplicate(3), "late": faultbucket.Late(2), "very late": faultbucket.Late(6),
		"conflict": faultbucket.Answer(409), "slow down": faultbucket.Answer(503), "slow down after": faultbucket.AnswerAfter(503),
		"refused by a copy": faultbucket.AnswerAfter(412),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := membucket.New("b", membucket.Options{})
			var want []string
			for i := range 6 {
				rule := faultbucket.Rule{Op: faultbucket.OpPut, Fault: fault, Nth: 1 + i%3} // the event, the head, or what is sent again
				if i >= 3 {
					rule.Nth, rule.Limit = 0, i-2 // several in a row
				}
				faulty := faultbucket.New(store, faultbucket.Options{Rules: []faultbucket.Rule{rule}})
				id := fmt.Sprint(i)
				if err := newLog(t, faulty).Append(t.Context(), event(id)); err != nil {
					t.Fatal(err)
				}
				want = append(want, id)
				faulty.Deliver()
				wantOnce(t, newLog(t, store), want...)
			}
		})
	}
}

// 8 writers over a bad network: what Append stored is there once, what it is not sure of at most once.
func TestBucketLog_Append_RacingFaults(t *testing.T) {
	t.Parallel()
	store := membucket.New("b", membucket.Options{Versioned: true})
	var mu sync.Mutex
	var sure, unsure []string
	var running sync.WaitGroup
	for w := range 8 {
		faulty := faultbucket.New(store, faultbucket.Options{Rand: rand.New(rand.NewPCG(uint64(w), 0)), Rules: []faultbucket.Rule{
			{Op: faultbucket.OpPut, Chance: 0.15, Fault: faultbucket.LoseReply()},
			{Op: faultbucket.OpPut, Chance: 0.1, Fault: faultbucket.Late(2)},
			{Op: faultbucket.OpPut, Chance: 0.1, Fault: faultbucket.Duplicate(1)},
			{Op: faultbucket.OpGet, Chance: 0.05, Fault: faultbucket.LoseRequest()},
		}})
		running.Go(func() {
			for i := range 6 {
				id := fmt.Sprintf("%d-%d", w, i)
				err := newLog(t, faulty).Append(t.Context(), event(id))
				mu.Lock()
				if err == nil {
					sure = append(sure, id)
				} else {
					t.Logf("%s: %v", id, err)
					unsure = append(unsure, id)
				}
				mu.Unlock()
			}
			faulty.Deliver()
		})
	}
	running.Wait()
	c, r := read(t, newLog(t, store))
	got := ids(t, c)
	for _, id := range append(sure, unsure...) {
		n := 0
		for _, g := range got {
			if g == id {
				n++
			}
		}
		if n > 1 || n == 0 && slices.Contains(sure, id) {
			t.Errorf("event %s: there %d times", id, n)
		}
	}
	if len(r.Findings) != 0 || len(sure) < 40 {
		t.Errorf("got %d events stored and %d not, findings %v; want nearly all stored and nothing found", len(sure), len(unsure), r.Findings)
	}
}

// A writer that dies between the event and the head leaves a log that is whole, and the next one moves the head along.
func TestBucketLog_Append_RepairsTheHead(t *testing.T) {
	t.Parallel()
	for before := range 3 { // events that were stored in peace
		store := membucket.New("b", membucket.Options{})
		l := newLog(t, store)
		var want []string
		for i := range before {
			want = append(want, fmt.Sprint(i))
			if err := l.Append(t.Context(), event(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		dying := faultbucket.New(store, faultbucket.Options{Rules: []faultbucket.Rule{
			{Op: faultbucket.OpPut, Key: "audit/head.json", Fault: faultbucket.Answer(403)},
		}})
		if err := newLog(t, dying).Append(t.Context(), event("dying")); !errors.Is(err, statelatch.ErrDenied) || !strings.Contains(err.Error(), "is stored") {
			t.Fatalf("got %v, want a refusal of the head that says that the event is stored", err)
		}
		want = append(want, "dying")
		wantOnce(t, l, want...)
		if _, r := read(t, l); r.Behind != 1 {
			t.Errorf("after %d: got a head %d behind, want 1", before, r.Behind)
		}
		if err := l.Append(t.Context(), event("next")); err != nil {
			t.Fatal(err)
		}
		wantOnce(t, l, append(want, "next")...)
		if _, r := read(t, l); r.Behind != 0 {
			t.Errorf("after %d: got a head %d behind, want it repaired", before, r.Behind)
		}
	}
}

// A slow writer does not move the head back behind a faster one: the events in between could be cut off unseen.
func TestBucketLog_Append_HeadNeverGoesBack(t *testing.T) {
	t.Parallel()
	for before := range 2 { // the head is created, or replaced
		store := membucket.New("b", membucket.Options{})
		l := newLog(t, store)
		for i := range before {
			if err := l.Append(t.Context(), event(fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		slow := faultbucket.New(store, faultbucket.Options{Rules: []faultbucket.Rule{{
			Op: faultbucket.OpPut, Key: "audit/head.json", Nth: 1,
			Fault: faultbucket.DelayWith(func(ctx context.Context) error { return l.Append(ctx, event("fast")) }),
		}}})
		if err := newLog(t, slow).Append(t.Context(), event("slow")); err != nil {
			t.Fatal(err)
		}
		if c, r := read(t, l); len(r.Findings) != 0 || r.Behind != 0 || c.Head.Seq != uint64(before)+2 {
			t.Errorf("got the head at %d, findings %v; want it at %d", c.Head.Seq, r.Findings, before+2)
		}
	}
}

func TestBucketLog_Append_EndsWithTheContext(t *testing.T) {
	t.Parallel()
	store := faultbucket.New(membucket.New("b", membucket.Options{}), faultbucket.Options{Rules: []faultbucket.Rule{
		{Op: faultbucket.OpPut, Fault: faultbucket.Hold(nil)},
	}})
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := newLog(t, store).Append(ctx, event("x")); !errors.Is(err, statelatch.ErrAmbiguous) {
		t.Errorf("got %v, want ErrAmbiguous", err)
	}
}

// Three requests an event where nobody else writes: it happens beside every act.
func TestBucketLog_Append_Requests(t *testing.T) {
	t.Parallel()
	store := faultbucket.New(membucket.New("b", membucket.Options{}), faultbucket.Options{})
	l := newLog(t, store)
	for i := range 3 {
		if err := l.Append(t.Context(), event(fmt.Sprint(i))); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(store.Requests()); n != 9 {
		t.Errorf("got %d requests for 3 events, want 9", n)
	}
}

func TestNewBucketLog_Prefixes(t *testing.T) {
	t.Parallel()
	for prefix, good := range map[string]bool{
		"audit": true, "prod/audit": true, "": false, "env:": false, "env:/x": false, ".statelatch-probe/x": false,
		"app/terraform.tfstate": false, "app/terraform.tfstate/x": false, "a.tflock": false, "a.rescue": false, "a.history": false,
	} {
		_, err := NewBucketLog(membucket.New("b", membucket.Options{}), prefix)
		if good != (err == nil) || err != nil && !errors.Is(err, statelatch.ErrInvalid) {
			t.Errorf("prefix %q: got %v, want good: %v", prefix, err, good)
		}
	}
}

// What was done since a time is found without reading what was done before, and nothing that is younger is left out.
func TestBucketLog_ReadSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	inner := membucket.New("b", membucket.Options{Clock: func() time.Time { return now }})
	l := newLog(t, inner)
	const events = 600
	for i := range events {
		now = now.Add(time.Minute)
		e := event(fmt.Sprint(i + 1))
		e.Time = now.Add(time.Duration(i%3-1) * 20 * time.Minute) // clocks differ
		if err := l.Append(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
	for _, gone := range []int{1, 300, 599} { // an event may be missing
		if _, err := inner.Delete(t.Context(), l.key(uint64(gone)), bucket.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	all, err := l.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	since := func(c Contents, when time.Time) (ids []string) {
		for _, r := range c.Records {
			if e, err := Parse(r.Raw); err == nil && !e.Time.Before(when) {
				ids = append(ids, e.ID)
			}
		}
		return ids
	}
	for _, ago := range []time.Duration{-time.Hour, 0, 30 * time.Minute, 5 * time.Hour, 100 * time.Hour} {
		faulty := faultbucket.New(inner, faultbucket.Options{})
		c, err := newLog(t, faulty).ReadSince(t.Context(), now.Add(-ago))
		if err != nil {
			t.Fatal(err)
		}
		if got, want := since(c, now.Add(-ago)), since(all, now.Add(-ago)); !slices.Equal(got, want) {
			t.Errorf("%v ago: got %q, want %q", ago, got, want)
		}
		young := int((ago + maxAhead) / time.Minute)
		if n := len(faulty.Requests()); n > max(young, 0)+20 {
			t.Errorf("%v ago: %d requests for %d events", ago, n, young)
		}
		if int(c.Earlier)+len(c.Records) > events {
			t.Errorf("%v ago: %d and %d events of %d", ago, c.Earlier, len(c.Records), events)
		}
	}
	if _, err := inner.Delete(t.Context(), "audit/"+headName, bucket.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if c, err := l.ReadSince(t.Context(), now); err != nil || len(c.Records) != len(all.Records) {
		t.Errorf("without a head: got %d events, %v, want all", len(c.Records), err)
	}
}
